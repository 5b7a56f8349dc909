"""What models cost: worked by hand from published prices, feature by feature."""

from decimal import Decimal
from typing import Any

import pytest

from .conftest import Ask

# model, day, what else is said, what was counted, (tokens x dollars per million)…
WORKED: list[tuple[str, str, str, dict[str, Any], dict[str, Any], list[tuple[int, str]]]] = [
    # ------------------------------------------------------------ basic, cached, thinking
    ("gpt-5", "2026-06-01", "thinking is output", {}, {"input": 1000, "cache_read": 500, "output": 100, "reasoning": 900}, [(1000, "1.25"), (500, "0.125"), (1000, "10")]),
    ("gpt-4o-mini-2024-07-18", "2026-06-01", "a dated snapshot", {}, {"input": 1000, "cache_read": 1024, "output": 10}, [(1000, "0.15"), (1024, "0.075"), (10, "0.60")]),
    ("gpt-4.1-2025-04-14", "2026-06-01", "on Azure", {"platform": "azure"}, {"input": 10, "cache_read": 20, "output": 30}, [(10, "2"), (20, "0.5"), (30, "8")]),
    ("o3-mini", "2026-06-01", "reasoning", {}, {"input": 10, "output": 1, "reasoning": 99}, [(10, "1.1"), (100, "4.4")]),
    ("gpt-6-astra", "2026-11-20", "newest", {}, {"input": 10, "cache_read": 5, "output": 7}, [(10, "10"), (5, "1"), (7, "50")]),
    ("claude-fable-5-2", "2026-11-20", "newest", {}, {"input": 10, "cache_read": 50, "cache_write_1h": 3, "output": 7}, [(10, "8"), (50, "0.2"), (3, "16"), (7, "40")]),
    ("claude-fable-5-1", "2026-11-20", "cache reads at 0.025x", {}, {"cache_read": 1000, "output": 1}, [(1000, "0.25"), (1, "50")]),
    ("claude-3-opus-20240229", "2025-06-01", "retired", {}, {"input": 1, "cache_read": 2, "cache_write": 3, "output": 4}, [(1, "15"), (2, "1.5"), (3, "18.75"), (4, "75")]),
    ("claude-3-sonnet-20240229", "2025-06-01", "retired", {}, {"input": 1, "cache_write_5m": 3, "output": 4}, [(1, "3"), (3, "3.75"), (4, "15")]),
    ("claude-3-haiku-20240307", "2025-06-01", "one-hour write", {}, {"cache_write_1h": 1000}, [(1000, "0.5")]),
    ("claude-sonnet-5-5", "2026-11-20", "cache reads at 0.05x", {}, {"cache_read": 1000}, [(1000, "0.1")]),
    ("models/gemini-2.5-pro", "2026-09-15", "prefix", {}, {"input": 5, "cache_read": 6, "output": 7, "reasoning": 8}, [(5, "1.25"), (6, "0.125"), (15, "10")]),
    ("gemini-2.5-flash-001", "2026-09-15", "a pinned version", {}, {"input": 5, "output": 7}, [(5, "0.3"), (7, "2.5")]),
    ("publishers/google/models/gemini-2.5-flash", "2026-09-15", "on Vertex", {"platform": "vertex", "region": "us-central1"}, {"input": 5, "output": 7}, [(5, "0.3"), (7, "2.5")]),
    ("gemini-1.5-flash-8b", "2025-06-01", "half of its bigger sibling", {}, {"input": 1000, "cache_read": 10, "output": 100}, [(1000, "0.0375"), (10, "0.01"), (100, "0.15")]),
    ("gemini-1.5-flash-8b-001", "2025-06-01", "half of its bigger sibling", {}, {"input": 1000}, [(1000, "0.0375")]),
    ("gemini-1.5-flash-002", "2025-06-01", "long context", {}, {"input": 128_001, "output": 10}, [(128_001, "0.15"), (10, "0.6")]),
    ("gemini-1.5-pro-002", "2025-06-01", "cached", {}, {"input": 1000, "cache_read": 500}, [(1000, "1.25"), (500, "0.3125")]),
    ("gemini-1.5-pro", "2025-06-01", "long context", {}, {"input": 100_000, "cache_read": 50_000, "output": 10}, [(100_000, "2.5"), (50_000, "0.625"), (10, "10")]),
    # ------------------------------------------------------------ tools, modalities
    ("gemini-3-flash-preview", "2026-09-15", "tool use is input", {}, {"input": 10, "input_tool_use": 90, "output": 1}, [(100, "0.5"), (1, "3")]),
    ("gemini-2.5-flash-lite", "2026-09-15", "cached audio", {}, {"input": 10, "input_audio": 20, "cache_read": 5, "cache_read_audio": 7}, [(10, "0.1"), (20, "0.3"), (5, "0.01"), (7, "0.03")]),
    ("gemini-2.5-pro", "2026-09-15", "one rate for all that comes in", {}, {"input": 10, "input_audio": 20, "input_image": 30, "input_video": 40, "cache_read_audio": 5}, [(100, "1.25"), (5, "0.125")]),
    ("gemini-2.5-flash", "2026-09-15", "video and images as text", {}, {"input_image": 258, "input_video": 1000, "cache_read_image": 50}, [(1258, "0.3"), (50, "0.03")]),
    ("gemini-3.8-live", "2026-11-20", "live", {}, {"input": 1, "input_audio": 2, "input_video": 3, "output": 4, "output_audio": 5}, [(1, "0.75"), (2, "3"), (3, "1"), (4, "4.5"), (5, "12")]),
    ("gemini-2.5-flash-native-audio-preview-12-2025", "2026-11-20", "live", {}, {"input": 1, "input_audio": 2, "output": 4, "output_audio": 5}, [(1, "0.5"), (2, "3"), (4, "2"), (5, "12")]),
    ("gemini-2.5-flash-preview-tts", "2026-11-20", "speech", {}, {"input": 10, "output_audio": 500}, [(10, "0.5"), (500, "10")]),
    ("gemini-2.5-flash-image", "2026-09-15", "images out", {}, {"input": 10, "input_image": 258, "output": 5, "output_image": 1290}, [(268, "0.3"), (5, "2.5"), (1290, "30")]),
    ("gemini-3-pro-image-preview", "2026-09-15", "images out", {}, {"input": 10, "output_image": 1120, "reasoning": 50}, [(10, "2"), (1120, "120"), (50, "12")]),
    ("gpt-audio-mini", "2026-11-20", "audio", {}, {"input": 1, "input_audio": 2, "output": 3, "output_audio": 4}, [(1, "0.6"), (2, "10"), (3, "2.4"), (4, "20")]),
    ("gpt-4o-audio-preview-2024-12-17", "2026-01-01", "audio", {}, {"input": 1, "input_audio": 2, "output": 3, "output_audio": 4}, [(1, "2.5"), (2, "40"), (3, "10"), (4, "80")]),
    ("gpt-4o-audio-preview-2024-10-01", "2026-01-01", "the first snapshot", {}, {"input_audio": 2, "output_audio": 4}, [(2, "100"), (4, "200")]),
    ("gpt-4o-mini-audio-preview", "2026-01-01", "audio", {}, {"input_audio": 2, "output_audio": 4}, [(2, "10"), (4, "20")]),
    ("gpt-realtime", "2026-11-20", "realtime", {}, {"input_audio": 10, "cache_read_audio": 5, "output_audio": 4, "output": 1}, [(10, "32"), (5, "0.4"), (4, "64"), (1, "16")]),
    ("gpt-image-1.5", "2026-11-20", "images", {}, {"input": 1, "input_image": 2, "cache_read_image": 3, "output_image": 4, "output": 5}, [(1, "5"), (2, "8"), (3, "2"), (4, "32"), (5, "10")]),
    ("gpt-image-1", "2026-11-20", "images", {}, {"input": 1, "input_image": 2, "output_image": 4}, [(1, "5"), (2, "10"), (4, "40")]),
    # ------------------------------------------------------------ embeddings, free
    ("text-embedding-3-large", "2026-11-20", "embeddings", {"endpoint": "embeddings"}, {"input": 1000}, [(1000, "0.13")]),
    ("text-embedding-ada-002", "2026-11-20", "embeddings", {"endpoint": "embeddings"}, {"input": 1000}, [(1000, "0.1")]),
    ("gemini-embedding-001", "2026-11-20", "embeddings", {"endpoint": "embed_content"}, {"input": 1000}, [(1000, "0.15")]),
    ("gemini-embedding-2", "2026-11-20", "embeddings", {"endpoint": "embed_content"}, {"input": 1000, "input_image": 10, "input_audio": 5, "input_video": 2}, [(1000, "0.2"), (10, "0.45"), (5, "6.5"), (2, "12")]),
    ("text-embedding-3-small", "2026-01-05", "in a batch", {"endpoint": "batches"}, {"input": 1000}, [(1000, "0.01")]),
    ("gemini-embedding-001", "2026-01-05", "in a batch", {"endpoint": "batches"}, {"input": 1000}, [(1000, "0.075")]),
    # ------------------------------------------------------------ fine-tuned
    ("ft:gpt-4.1-mini-2025-04-14:acme:support:abc", "2026-06-01", "tuned", {}, {"input": 10, "cache_read": 5, "output": 3}, [(10, "0.8"), (5, "0.2"), (3, "3.2")]),
    ("ft:gpt-4.1-nano-2025-04-14:acme::abc", "2026-06-01", "tuned", {}, {"input": 10, "cache_read": 5, "output": 3}, [(10, "0.2"), (5, "0.05"), (3, "0.8")]),
    ("ft:gpt-4o-2024-08-06:acme::abc", "2026-06-01", "tuned", {}, {"input": 10, "cache_read": 5, "output": 3}, [(10, "3.75"), (5, "1.875"), (3, "15")]),
    ("ft:gpt-4o-mini-2024-07-18:acme::abc", "2026-06-01", "tuned", {}, {"input": 10, "cache_read": 5, "output": 3}, [(10, "0.3"), (5, "0.15"), (3, "1.2")]),
    ("ft:gpt-3.5-turbo-0125:acme::abc", "2026-06-01", "tuned", {}, {"input": 10, "output": 3}, [(10, "3"), (3, "6")]),
    ("ft:o4-mini-2025-04-16:acme::abc", "2026-06-01", "tuned", {}, {"input": 10, "output": 3}, [(10, "4"), (3, "16")]),
    ("ft:gpt-4.1-2025-04-14:acme::abc", "2026-06-01", "tuned, in a batch", {"endpoint": "batches"}, {"input": 10, "output": 3}, [(10, "1.5"), (3, "6")]),
    # ------------------------------------------------------------ tiers
    ("gpt-5-mini", "2026-06-01", "in a batch", {"endpoint": "batches", "tier": "default"}, {"input": 10, "cache_read": 5, "output": 3}, [(10, "0.125"), (5, "0.0125"), (3, "1")]),
    ("o4-mini", "2025-06-20", "flex, published rounded", {"tier": "flex"}, {"input": 10, "cache_read": 1000, "output": 3}, [(10, "0.55"), (1000, "0.138"), (3, "2.2")]),
    ("gpt-5.4", "2026-06-01", "flex, published rounded", {"tier": "flex"}, {"input": 10, "cache_read": 1000, "output": 3}, [(10, "1.25"), (1000, "0.13"), (3, "7.5")]),
    ("gpt-5.5", "2026-06-01", "priority is 2.5x", {"tier": "priority"}, {"input": 10, "cache_read": 5, "output": 3}, [(10, "12.5"), (5, "1.25"), (3, "75")]),
    ("gpt-5", "2025-12-01", "fast is priority", {"tier": "fast"}, {"input": 10, "cache_read": 5, "output": 3}, [(10, "2.5"), (5, "0.25"), (3, "20")]),
    ("gpt-4o", "2026-06-01", "priority", {"tier": "priority"}, {"input": 10, "cache_read": 5, "output": 3}, [(10, "4.25"), (5, "2.125"), (3, "17")]),
    ("gpt-4.1-nano", "2026-06-01", "priority", {"tier": "priority"}, {"input": 10, "output": 3}, [(10, "0.2"), (3, "0.8")]),
    ("gpt-6.1-sol", "2026-11-20", "ultrafast", {"tier": "ultrafast"}, {"input": 10, "cache_read": 5, "cache_write_30m": 2, "cache_write_12h": 1, "output": 3}, [(10, "12"), (5, "0.6"), (2, "15"), (1, "30"), (3, "60")]),
    ("gpt-6-astra", "2026-11-20", "ultrafast, long", {"tier": "ultrafast"}, {"input": 272_001, "output": 3}, [(272_001, "120"), (3, "450")]),
    ("gpt-5.5-pro", "2026-06-01", "batch, long", {"endpoint": "batches"}, {"input": 272_001, "output": 3}, [(272_001, "30"), (3, "135")]),
    ("gpt-4o-2024-08-06", "2025-03-01", "in a batch", {"endpoint": "batches"}, {"input": 10, "output": 3}, [(10, "1.25"), (3, "5")]),
    ("gpt-3.5-turbo-1106", "2026-03-01", "in a batch: the same", {"endpoint": "batches"}, {"input": 10, "output": 3}, [(10, "1"), (3, "2")]),
    ("gemini-2.5-pro", "2026-03-01", "batch, cached as standard, long", {"endpoint": "batches"}, {"input": 200_000, "cache_read": 1000, "output": 10}, [(200_000, "1.25"), (1000, "0.25"), (10, "7.5")]),
    ("gemini-2.5-flash-lite", "2026-03-01", "batch audio", {"endpoint": "batches"}, {"input_audio": 1000, "cache_read_audio": 10}, [(1000, "0.15"), (10, "0.03")]),
    ("gemini-3.1-pro-preview", "2026-05-01", "flex, cached as standard", {"tier": "flex"}, {"input": 10, "cache_read": 1000, "output": 10}, [(10, "1"), (1000, "0.2"), (10, "6")]),
    ("gemini-3.1-flash-lite", "2026-05-01", "flex, cached halved", {"tier": "flex"}, {"input": 10, "cache_read": 1000, "output": 10}, [(10, "0.125"), (1000, "0.0125"), (10, "0.75")]),
    ("gemini-3.5-flash", "2026-10-20", "flex, published rounded", {"tier": "flex"}, {"input": 10, "cache_read": 1000, "output": 10}, [(10, "0.75"), (1000, "0.08"), (10, "4.5")]),
    ("gemini-3.5-flash", "2026-10-20", "flex on Vertex", {"tier": "flex", "platform": "vertex"}, {"input": 10, "cache_read": 1000, "output": 10}, [(10, "0.75"), (1000, "0.075"), (10, "4.5")]),
    ("gemini-3.5-flash", "2026-10-20", "batch", {"endpoint": "batches"}, {"input": 10, "cache_read": 1000, "output": 10}, [(10, "0.75"), (1000, "0.075"), (10, "4.5")]),
    ("gemini-3.5-flash-lite", "2026-10-20", "priority, published rounded", {"tier": "priority"}, {"input": 10, "cache_read": 1000, "output": 10}, [(10, "0.54"), (1000, "0.05"), (10, "4.5")]),
    ("gemini-3.5-flash-lite", "2026-09-01", "batch, published rounded", {"endpoint": "batches"}, {"input": 10, "cache_read": 1000}, [(10, "0.15"), (1000, "0.02")]),
    ("gemini-2.5-pro", "2026-05-10", "priority, long", {"tier": "priority"}, {"input": 200_001, "cache_read": 10, "output": 5}, [(200_001, "4.5"), (10, "0.45"), (5, "27")]),
    ("gemini-2.5-flash", "2026-05-10", "priority audio", {"tier": "priority"}, {"input_audio": 100, "cache_read_audio": 10, "output": 5}, [(100, "1.8"), (10, "0.18"), (5, "4.5")]),
    ("gemini-3.7-flash", "2026-11-01", "batch", {"endpoint": "batches"}, {"input": 10, "cache_read": 4, "output": 5}, [(10, "0.375"), (4, "0.0375"), (5, "1.875")]),
    ("gemini-3.8-flash", "2027-02-01", "batch after the doubling", {"endpoint": "batches"}, {"input": 10, "cache_read": 4, "output": 5}, [(10, "0.75"), (4, "0.075"), (5, "3.75")]),
    ("gemini-4-argon", "2026-11-01", "batch", {"endpoint": "batches"}, {"input": 10, "cache_read": 4, "output": 5}, [(10, "1"), (4, "0.05"), (5, "5")]),
    ("claude-3-5-haiku-20241022", "2025-06-01", "a retired model in a batch", {"tier": "batch"}, {"input": 10, "cache_read": 4, "cache_write_1h": 2, "output": 5}, [(10, "0.4"), (4, "0.04"), (2, "0.8"), (5, "2")]),
    ("claude-haiku-5-5", "2026-11-01", "batch, long", {"tier": "batch"}, {"input": 100_001, "cache_write_1h": 2, "output": 5}, [(100_001, "0.25"), (2, "0.5"), (5, "1.25")]),
    ("claude-opus-4-6", "2026-04-01", "fast mode, 6x", {"tier": "fast"}, {"input": 10, "cache_read": 4, "cache_write": 3, "cache_write_1h": 2, "output": 5}, [(10, "30"), (4, "3"), (3, "37.5"), (2, "60"), (5, "150")]),
    ("claude-opus-5-5", "2026-11-01", "fast mode, 2x", {"tier": "fast"}, {"input": 10, "cache_read": 4, "output": 5}, [(10, "8"), (4, "0.4"), (5, "40")]),
    # ------------------------------------------------------------ long context
    ("claude-sonnet-4-20250514", "2025-12-01", "the 1M beta", {}, {"input": 150_000, "cache_read": 50_001, "cache_write_1h": 10, "output": 5}, [(150_000, "6"), (50_001, "0.6"), (10, "12"), (5, "22.5")]),
    ("claude-sonnet-4-20250514", "2025-12-01", "at the line", {}, {"input": 200_000, "output": 5}, [(200_000, "3"), (5, "15")]),
    ("claude-opus-4-6", "2026-03-01", "before the cliff went", {}, {"input": 200_001, "output": 5}, [(200_001, "10"), (5, "37.5")]),
    ("claude-opus-4-6", "2026-03-20", "after the cliff went", {}, {"input": 200_001, "output": 5}, [(200_001, "5"), (5, "25")]),
    ("gpt-5.6-terra", "2026-11-20", "long, with writes", {}, {"input": 200_000, "cache_read": 72_000, "cache_write_30m": 1, "cache_write_12h": 1, "output": 5}, [(200_000, "4"), (72_000, "0.4"), (1, "5"), (1, "10"), (5, "18")]),
    ("gpt-5.4-mini", "2026-11-20", "has no cliff", {}, {"input": 300_000, "output": 5}, [(300_000, "0.75"), (5, "4.5")]),
    ("gemini-3.1-pro-preview", "2026-05-01", "tool use does not count", {}, {"input": 199_999, "input_tool_use": 50_000, "output": 5}, [(249_999, "2"), (5, "12")]),
    # ------------------------------------------------------------ cache writes
    ("gpt-6.1-terra", "2026-11-20", "12 hours", {}, {"input": 1, "cache_write_30m": 2, "cache_write_12h": 3}, [(1, "1"), (2, "1.25"), (3, "2.5")]),
    ("gpt-6.1-terra", "2026-11-20", "a write of untold lifetime", {}, {"cache_write": 2}, [(2, "1.25")]),
    ("gpt-6-luna", "2026-11-20", "12 hours in a batch", {"endpoint": "batches"}, {"cache_write_12h": 4}, [(4, "0.125")]),
    # ------------------------------------------------------------ by date
    ("gpt-4o", "2024-08-01", "when it was the first snapshot", {}, {"input": 10, "output": 5}, [(10, "5"), (5, "15")]),
    ("gpt-4o", "2024-12-01", "since October 2024", {}, {"input": 10, "output": 5}, [(10, "2.5"), (5, "10")]),
    ("gpt-3.5-turbo", "2023-12-01", "when it was 0613", {}, {"input": 10, "output": 5}, [(10, "1.5"), (5, "2")]),
    ("gpt-3.5-turbo", "2024-06-01", "since 0125", {}, {"input": 10, "output": 5}, [(10, "0.5"), (5, "1.5")]),
    ("o1-mini", "2024-12-01", "before the cut", {}, {"input": 10, "cache_read": 2, "output": 5}, [(10, "3"), (2, "1.5"), (5, "12")]),
    ("o3", "2025-05-01", "before the cut", {}, {"input": 10, "cache_read": 2, "output": 5}, [(10, "10"), (2, "2.5"), (5, "40")]),
    ("o3", "2025-07-01", "after the cut", {}, {"input": 10, "cache_read": 2, "output": 5}, [(10, "2"), (2, "0.5"), (5, "8")]),
    ("gpt-5.6-terra", "2026-07-20", "before the cut", {}, {"input": 10, "cache_read": 2, "output": 5}, [(10, "2.5"), (2, "0.25"), (5, "15")]),
    ("gpt-5.6-terra", "2026-07-20", "priority before the cut", {"tier": "priority"}, {"input": 10, "output": 5}, [(10, "5"), (5, "30")]),
    ("gpt-5.6-sol", "2026-08-20", "before the cut", {}, {"input": 10, "output": 5}, [(10, "5"), (5, "30")]),
    ("gemini-2.5-pro", "2025-07-01", "cached, before autumn 2025", {}, {"cache_read": 1000}, [(1000, "0.31")]),
    ("gemini-2.5-flash", "2025-07-01", "cached, before autumn 2025", {}, {"cache_read": 1000, "cache_read_audio": 10}, [(1000, "0.075"), (10, "0.25")]),
    ("gemini-3.6-flash", "2026-08-01", "launch price", {}, {"input": 10, "cache_read": 2, "output": 5}, [(10, "1.5"), (2, "0.15"), (5, "7.5")]),
    ("gemini-3.6-flash", "2026-08-01", "launch price in a batch", {"endpoint": "batches"}, {"input": 10, "cache_read": 2, "output": 5}, [(10, "0.75"), (2, "0.075"), (5, "3.75")]),
    ("gemini-3.6-flash", "2026-12-31", "introductory", {}, {"input": 10, "output": 5}, [(10, "0.75"), (5, "3.75")]),
    ("gemini-3.6-flash", "2027-01-01", "doubled", {}, {"input": 10, "output": 5}, [(10, "1.5"), (5, "7.5")]),
    ("claude-sonnet-5-5", "2026-10-01", "cached, before the cut", {}, {"cache_read": 1000}, [(1000, "0.2")]),
    ("gemini-1.5-pro", "2024-09-01", "before October 2024", {}, {"input": 10, "output": 5}, [(10, "3.5"), (5, "10.5")]),
    # ------------------------------------------------------------ regions
    ("claude-haiku-4-5@20251001", "2026-09-15", "regional Vertex", {"platform": "vertex", "region": "us-east5"}, {"input": 10, "cache_read": 20, "output": 5}, [(10, "1.1"), (20, "0.11"), (5, "5.5")]),
    ("claude-haiku-4-5@20251001", "2026-09-15", "global Vertex", {"platform": "vertex", "region": "global"}, {"input": 10, "output": 5}, [(10, "1"), (5, "5")]),
    ("claude-3-7-sonnet@20250219", "2025-09-15", "regional Vertex, older", {"platform": "vertex", "region": "us-east5"}, {"input": 10, "output": 5}, [(10, "3"), (5, "15")]),
    ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "2026-09-15", "regional Bedrock", {"platform": "bedrock"}, {"input": 10, "output": 5}, [(10, "3.3"), (5, "16.5")]),
    ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "2026-09-15", "global Bedrock", {"platform": "bedrock"}, {"input": 10, "output": 5}, [(10, "3"), (5, "15")]),
    ("anthropic.claude-3-5-sonnet-20241022-v2:0", "2025-09-15", "Bedrock", {"platform": "bedrock"}, {"input": 10, "output": 5}, [(10, "3"), (5, "15")]),
    ("claude-sonnet-5", "2026-11-15", "US only", {"region": "us"}, {"input": 10, "cache_write_1h": 3, "output": 5}, [(10, "2.2"), (3, "4.4"), (5, "11")]),
    ("claude-sonnet-5", "2026-11-15", "US only in a batch", {"region": "us", "tier": "batch"}, {"input": 10, "output": 5}, [(10, "1.1"), (5, "5.5")]),
    ("claude-opus-5", "2026-11-15", "US only, fast", {"region": "us", "tier": "fast"}, {"input": 10, "output": 5}, [(10, "11"), (5, "55")]),
    ("claude-haiku-4-5", "2026-11-15", "does not tell its place", {"region": "not_available"}, {"input": 10, "output": 5}, [(10, "1"), (5, "5")]),
    ("gpt-5.5", "2026-11-15", "European residency", {"region": "eu"}, {"input": 10, "output": 5}, [(10, "5.5"), (5, "33")]),
    ("gpt-4.1", "2026-11-15", "European residency, older", {"region": "eu"}, {"input": 10, "output": 5}, [(10, "2"), (5, "8")]),
    ("gemini-3.5-flash", "2026-11-15", "regional Vertex", {"platform": "vertex", "region": "europe-west4"}, {"input": 10, "output": 5}, [(10, "1.65"), (5, "9.9")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "day", "what", "said", "counted", "parts"),
    WORKED,
    ids=[f"{row[0]} {row[2]}" for row in WORKED],
)
def test_a_worked_price_is_exact(
    ask: Ask,
    usd: Any,
    model: str,
    day: str,
    what: str,
    said: dict[str, Any],
    counted: dict[str, Any],
    parts: list[tuple[int, str]],
) -> None:
    cost = ask(model, day, **said, **counted)
    assert cost.reasons == ()
    assert cost.total == usd(*parts)
    assert cost.known == cost.total
    assert sum(line.quantity for line in cost.lines) == sum(counted.values())


UNITS = [
    ("gpt-5.4", "2026-11-20", {"web_search": 3, "file_search": 2}, "0.035"),
    ("gpt-5", "2026-11-20", {"web_search_preview": 2}, "0.02"),
    ("gpt-4o", "2026-11-20", {"web_search_preview": 2}, "0.05"),
    ("gpt-4.1-mini", "2026-11-20", {"web_search": 1}, "0.0132"),
    ("gpt-4.1", "2026-11-20", {"code_interpreter": 1}, "0.03"),
    ("claude-opus-4-8", "2026-11-20", {"web_search": 5, "web_fetch": 9}, "0.05"),
    ("claude-opus-4-8", "2026-11-20", {"code_execution_hours": Decimal("0.5")}, "0.025"),
    ("gemini-2.5-pro", "2026-09-01", {"search_grounding_prompts": 1, "search_grounding_queries": 4}, "0.035"),
    ("gemini-3.1-pro-preview", "2026-09-01", {"search_grounding_prompts": 1, "search_grounding_queries": 4}, "0.056"),
    ("gemini-2.5-flash", "2026-09-01", {"maps_grounding_prompts": 1, "maps_grounding_queries": 2}, "0.025"),
    ("gemini-3.5-flash", "2026-09-01", {"maps_grounding_prompts": 1, "maps_grounding_queries": 2}, "0.028"),
    ("gemini-2.5-flash", "2026-09-01", {"cache_storage_token_hours": 50_000}, "0.05"),
    ("gemini-3.8-flash", "2026-11-01", {"cache_storage_token_hours": Decimal("500000.5")}, "0.25000025"),
    ("gemini-3.8-flash", "2027-01-01", {"cache_storage_token_hours": 500_000}, "0.5"),
    ("whisper-1", "2026-11-20", {"audio_seconds": Decimal("12.5")}, "0.00125"),
    ("gpt-transcribe", "2026-11-20", {"audio_seconds": 60}, "0.0045"),
    ("tts-1-hd", "2026-11-20", {"characters": 1000}, "0.03"),
    ("tts-1-1106", "2026-11-20", {"characters": 1000}, "0.015"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "day", "units", "dollars"), UNITS)
def test_what_is_not_a_token_has_its_fee(
    ask: Ask, model: str, day: str, units: dict[str, Any], dollars: str
) -> None:
    cost = ask(model, day, **units)
    assert cost.reasons == ()
    assert cost.total == Decimal(dollars)


def test_images_of_imagen_have_a_price_each(ask: Ask) -> None:
    cost = ask("imagen-4.0-fast-generate-001", vendor="google", images=3)
    assert cost.total == Decimal("0.06")


def test_a_free_allowance_is_assumed_used_up_and_said(ask: Ask) -> None:
    cost = ask("gemini-3.5-flash", input=1, search_grounding_queries=1)
    assert cost.assumed == ("the free grounding allowance is used up",)


def test_fees_stay_whole_in_a_batch_and_in_a_region(ask: Ask) -> None:
    cost = ask("claude-sonnet-5", tier="batch", region="us", input=1_000_000, web_search=10)
    assert cost.total == Decimal("1.1") + Decimal("0.1")


@pytest.mark.parametrize(
    ("model", "vendor", "platform"),
    [
        ("text-embedding-004", "google", "gemini-api"),
        ("gemma-3-27b-it", "google", "gemini-api"),
        ("omni-moderation-latest", "openai", "openai-api"),
    ],
)
def test_known_free_models_cost_nothing_and_say_free(
    ask: Ask, model: str, vendor: str, platform: str
) -> None:
    cost = ask(model, vendor=vendor, platform=platform, input=1000)
    assert (cost.status, cost.total) == ("free", 0)


def test_a_free_model_is_free_without_any_usage(ask: Ask) -> None:
    assert ask("omni-moderation-latest").status == "free"


def test_a_free_model_of_one_platform_is_not_free_on_another(ask: Ask) -> None:
    cost = ask("text-embedding-004", vendor="google", platform="vertex", input=1000)
    assert cost.total is None
    assert cost.reasons == ("no_rate:input",)


def test_grounding_of_gemini_3_was_free_before_its_billing_began(ask: Ask) -> None:
    cost = ask("gemini-3-pro-preview", "2025-12-20", input=1000, search_grounding_queries=2)
    assert cost.total == Decimal("0.002")


def test_other_providers_are_priced_from_the_table(ask: Ask) -> None:
    cost = ask("deepseek-chat", vendor="deepseek", input=1000, output=10)
    assert cost.status == "priced"
    assert cost.total is not None
    assert cost.total > 0


def test_a_price_per_request_is_part_of_the_bill(ask: Ask) -> None:
    cost = ask("sonar", vendor="perplexity", input=1000, output=10)
    assert "requests" in [line.sku for line in cost.lines]
