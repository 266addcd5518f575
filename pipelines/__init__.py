"""The flows: thin orders of what ``plm_data`` and ``trainer`` do, for Prefect and for the command line."""
