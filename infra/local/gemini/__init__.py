"""A stand-in for Gemini: it answers from the request's own schema.

Equal requests get equal answers. It speaks the AI Studio and the Vertex paths, wants their
credentials, checks images by their bytes, counts tokens roughly, and has faults on demand.
"""

from infra.local.gemini.app import create_app

__all__ = ["create_app"]
