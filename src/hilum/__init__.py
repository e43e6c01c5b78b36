"""hilum trains, audits and validates chest X-ray classifiers."""

import os

__version__ = "0.1.0"

# Nothing reports to anybody. Libraries read these when they are imported, and whatever hilum imports comes after this.
SILENT = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime 1.32 tells Microsoft about the machine and every session
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub tells Hugging Face with which libraries it is used
    "MLFLOW_DISABLE_TELEMETRY": "true",  # MLflow 3 tells Databricks which of its functions are called
    "WANDB_ERROR_REPORTING": "false",  # wandb sends its errors to Sentry
}
os.environ.update(SILENT)
