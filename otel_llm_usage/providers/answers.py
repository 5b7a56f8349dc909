"""Which reader reads the answers of which endpoint."""

from collections.abc import Callable, Mapping

from ..records import Request
from . import anthropic, gemini, openai, orders, realtime
from .reading import BaseReader

_READERS: Mapping[str, Callable[[Request], BaseReader]] = {
    "chat.completions": openai.ChatReader,
    "completions": openai.ChatReader,
    "responses": openai.ResponsesReader,
    "decisions": openai.ResponsesReader,
    "embeddings": openai.EmbeddingsReader,
    "images": openai.ImagesReader,
    "audio.transcriptions": openai.TranscriptionReader,
    "audio.translations": openai.TranscriptionReader,
    "audio.speech": openai.SpeechReader,
    "realtime": realtime.RealtimeReader,
    "realtime.transcription": realtime.RealtimeTranscriptionReader,
    "realtime.translation": realtime.SessionReader,
    "live.session": realtime.SessionReader,
    "messages": anthropic.MessagesReader,
    "generate_content": gemini.GeminiReader,
    "live": gemini.GeminiReader,
    "embed_content": gemini.EmbeddingsReader,
    "generate_images": gemini.ImagenReader,
    "caches.create": gemini.CacheReader,
    "interactions": gemini.InteractionsReader,
    "decisions.create": gemini.InteractionsReader,
    "voices.create": gemini.InteractionsReader,
    "threads.runs": orders.RunReader,
    "videos": orders.VideoReader,
    "generate_videos": orders.VideoReader,
}


def shaped(endpoint: str) -> bool:
    """Whether answers of this endpoint have a reader of their own."""
    return endpoint in _READERS


def reader(request: Request) -> BaseReader:
    """A reader for the answer to this request."""
    make = _READERS.get(request.endpoint)
    if make is None:
        make = openai.ResponsesReader if request.vendor == "openai" else BaseReader
    return make(request)
