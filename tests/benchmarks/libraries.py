"""What both the executor and the single function load, and nothing else."""

import functions_framework
import jsonschema
from google import genai
from google.cloud import firestore, storage

__all__ = ["firestore", "functions_framework", "genai", "jsonschema", "storage"]
