// The page's charts, with what its filters select.
"use strict";

FRAME.start(CHARTS.charts, (data) => ({ groups: new Set(data.getAll("group")), phases: new Set(data.getAll("phase")), unit: data.get("unit") }));
