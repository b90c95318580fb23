"""What the openai client (3.54) makes of this engine: every call a chat program makes, and every error it handles.

Usage: openai_client.py BASE_URL MODEL
"""

import sys

import openai


def refuses(kind, param, call):
    """The call fails with this exception, about this field."""
    try:
        call()
    except kind as error:
        assert error.param == param, f"{error.param} is not {param}: {error}"
        return
    raise AssertionError(f"no {kind.__name__}")


def main(base_url, model):
    client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=60)
    messages = [{"role": "user", "content": "Hi"}]
    ask = dict(model=model, messages=messages, max_tokens=5, temperature=0)
    forever = dict(extra_body={"ignore_eos": True})

    models = client.models.list()
    assert [card.id for card in models.data] == [model], models

    chat = client.chat.completions.create(**ask, **forever, logprobs=True, top_logprobs=2)
    choice = chat.choices[0]
    assert chat.object == "chat.completion" and choice.finish_reason == "length", chat
    assert choice.message.role == "assistant" and isinstance(choice.message.content, str)
    assert chat.usage.completion_tokens == 5
    assert chat.usage.total_tokens == chat.usage.prompt_tokens + 5
    assert len(choice.logprobs.content) == 5
    for token in choice.logprobs.content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 2, token

    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(**ask, **forever, stream=True, stream_options=options))
    assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == choice.message.content, (said, choice.message.content)
    assert chunks[-1].usage.completion_tokens == 5 and not chunks[-1].choices, chunks[-1]
    ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert ends[-1] == "length" and not any(ends[:-1]), ends

    two = client.chat.completions.create(**{**ask, "temperature": 1}, n=2, seed=1)
    assert [choice.index for choice in two.choices] == [0, 1]

    text = client.completions.create(
        model=model, prompt=["One", "Two"], max_tokens=3, temperature=0, echo=True, logprobs=1, **forever
    )
    assert [choice.text[:3] for choice in text.choices] == ["One", "Two"], text
    logprobs = text.choices[0].logprobs
    assert logprobs.token_logprobs[0] is None and len(logprobs.tokens) == len(logprobs.text_offset)
    pieces = client.completions.create(model=model, prompt=[5, 6], max_tokens=3, stream=True)
    assert [piece.object for piece in pieces][0] == "text_completion"

    refuses(openai.NotFoundError, "model", lambda: client.chat.completions.create(**{**ask, "model": "nope"}))
    refuses(openai.BadRequestError, "top_p", lambda: client.chat.completions.create(**ask, top_p=2))
    refuses(
        openai.BadRequestError,
        "body.temperature",
        lambda: client.chat.completions.create(**{**ask, "temperature": "hot"}),
    )
    print(f"openai {openai.__version__}: all understood")


if __name__ == "__main__":
    main(*sys.argv[1:])
