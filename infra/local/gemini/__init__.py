"""A stand-in for Gemini's generateContent: it answers from the request's own schema.

Equal requests get equal answers. It speaks the AI Studio and the Vertex paths, wants their
credentials, checks images by their bytes, and counts tokens roughly.
"""

from infra.local.gemini.app import create_app

__all__ = ["create_app"]
