"""A token that cannot be had later on is a failed connection to the client libraries, which they make again."""

from __future__ import annotations

import asyncio

import aiokafka.errors
import kafka.errors
import pytest

from rasad.streams.credentials import AsyncToken, CredentialsError, Secret, TokenProvider


def none_now() -> Secret:
    raise CredentialsError("kafka.sasl_oauth_token_file = token has an empty first line")


def test_both_libraries_try_again_where_there_is_no_token_now() -> None:
    with pytest.raises(kafka.errors.KafkaConnectionError, match="empty first line") as told:
        TokenProvider(none_now).token()
    assert isinstance(told.value, kafka.errors.RetriableError)
    with pytest.raises(aiokafka.errors.KafkaConnectionError, match="empty first line"):
        asyncio.run(AsyncToken(none_now).token())


def test_a_token_is_what_its_source_gives() -> None:
    assert TokenProvider(lambda: Secret("now")).token() == "now"
    assert asyncio.run(AsyncToken(lambda: Secret("now")).token()) == "now"
