"""What Prefect's UI and MLflow show of a run."""
