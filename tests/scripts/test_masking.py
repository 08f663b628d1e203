"""Secrets in what is written down. Without these, a key on the command line would stand in every page of the run."""

from typing import Any

import pytest

from scripts.masking import masked, masked_argument


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("api_key", "sk-123", "***"),
        ("hub_token", "hf_123", "***"),
        ("apikey", "sk-123", "***"),
        ("hubToken", "hf_123", "***"),
        ("X-API-Key", "sk-123", "***"),
        ("credentials", "me:x", "***"),
        ("password", 123456, "***"),
        ("api_keys", ["sk-1", "sk-2"], ["***", "***"]),
        ("api_key_env", "OPENAI_API_KEY", "OPENAI_API_KEY"),
        ("max_tokens", 500, 500),
        ("max_tokens_key", "max_completion_tokens", "max_completion_tokens"),
        ("monkey", "Bo", "Bo"),
        ("stop_token", None, None),
        ("api_key", "", ""),
        ("llm", {"password": "x", "model": "m"}, {"password": "***", "model": "m"}),
        ("llms", [{"api_key": "x", "model": "m"}, "a"], [{"api_key": "***", "model": "m"}, "a"]),
    ],
)
def test_secrets_are_masked_and_nothing_else(name: str, value: Any, shown: Any) -> None:
    assert masked(name, value) == shown


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("+llm.extra_body.api_key=SECRET123", "+llm.extra_body.api_key=***"),
        ("++trainer.hub_token='hf x'", "++trainer.hub_token=***"),
        ("+llm.extra_body={a:{api_key: SECRET, x: 1}}", "+llm.extra_body={a:{api_key: ***, x: 1}}"),
        (
            "+llm.extra_headers={'Authorization': 'Bearer SECRET'}",
            "+llm.extra_headers={'Authorization': ***}",
        ),
        ("+llm.extra_body={Authorization:Bearer SECRET}", "+llm.extra_body={Authorization:***}"),
        ("+llm.extra_body={keys:[SECRET, SECRET], x:1}", "+llm.extra_body={keys:***, x:1}"),
        ("llm.base_url=https://h/v1?api-key=SECRET&v=2", "llm.base_url=https://h/v1?api-key=***&v=2"),
        ("launch=accelerate launch --token=SECRET", "launch=accelerate launch --token=***"),
        ("--token=SECRET", "--token=***"),
        ("llm.max_tokens_key=max_tokens", "llm.max_tokens_key=max_tokens"),
        ("llm.api_key_env=SHOP_KEY", "llm.api_key_env=SHOP_KEY"),
        ("evaluation.max_tokens=200,300", "evaluation.max_tokens=200,300"),
        ("metric=[eval/accuracy@best,eval/accuracy@last]", "metric=[eval/accuracy@best,eval/accuracy@last]"),
        ("only=K=*,reward=*", "only=K=*,reward=*"),
        ("-m", "-m"),
        ("stop_token=", "stop_token="),
    ],
)
def test_arguments_are_masked_by_the_same_rule(argument: str, shown: str) -> None:
    assert masked_argument(argument) == shown
