"""What the host application could notice of us, and must not.

Where each pitfall of the SDKs is proven (`contract` and `patching` are the rooms beside this one):

| pitfall | proven by |
| --- | --- |
| 1. parsing raises after the bill | contract: `chat parse, too long`, `content filter`; here: `test_pitfalls` for pydantic |
| 2. raw answers are parsed 0 to n times | contract: `chat raw, …`, `chat streaming response, never read` |
| 3. background answers come with a later GET | contract: `responses in the background`; here: `test_pitfalls` for a second look |
| 4. fallback hops are spliced into one stream | contract: `refusal and fallback, …` |
| 5. lazy Gemini streams | contract: `test_attribution`; here: `test_pitfalls` for the request itself |
| 6. Gemini async streams end a few ticks late | contract: `test_endings` (closed, dropped) |
| 7. openai's streams are cycles | contract: `test_endings` (dropped); here: `test_resources` |
| 8. tool runner turns in threads | contract: `tool runner, …` |
| 9. two HTTP libraries | here: `test_pitfalls` |
| 10. the body may be the caller's own | here: `test_pitfalls` |
| 11. extensions are visible | here: `test_received` |
| 12. instrumenting twice | contract: `test_order` |
| 13. anthropic's own spans | patching: `test_current_span`; telemetry: `test_spans` |
| 14. live sessions | contract: the shapes of the websockets |
| 15. what passes elsewhere | here: `test_pitfalls`: left alone |
"""
