"""One typed settings object: a TOML file, then the environment, then flags, each stronger than the last.

Every value remembers where it came from. A wrong one is a SettingsError that names the key, the value and the fix.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

CONFIG_FILE: Final = "rasad.toml"
"""Read from the working directory when no other file is named."""

CONFIG_VARIABLE: Final = "RASAD_CONFIG"
"""Environment variable that names the configuration file."""

_PREFIX: Final = "RASAD_"
_DELIMITER: Final = "__"
_NESTED: Final = re.compile(f"{_PREFIX}(.*?){_DELIMITER}(.+)", re.IGNORECASE)
_KAFKA_PREFIX: Final = "KAFKA_"
_MASK: Final = "********"
_DEFAULT: Final = "default"


class SettingsError(ValueError):
    """The configuration cannot be used; the message names each key, its value and what to do."""


def _split_commas(value: object) -> object:
    """An environment variable or a flag holds a list as one string."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


_ADDRESS: Final = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):(\d{1,5})")


def _address(value: object) -> object:
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if match is None or not 0 < int(match[1]) < 65_536:
        raise ValueError("each address is host:port, such as localhost:9092, without a scheme")
    return value


Addresses = Annotated[
    tuple[Annotated[str, BeforeValidator(_address)], ...], BeforeValidator(_split_commas), Field(min_length=1)
]
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class _Group(BaseModel):
    """One table of the configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class KafkaSettings(_Group):
    """How to reach the cluster. No `bootstrap_servers` means the embedded broker, where one is running."""

    bootstrap_servers: Addresses | None = None
    security_protocol: Annotated[Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], BeforeValidator(_upper)] = (
        "PLAINTEXT"
    )
    sasl_mechanism: (
        Annotated[Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"], BeforeValidator(_upper)] | None
    ) = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    sasl_password_file: FilePath | None = None
    # Of OAUTHBEARER: a file that is read, or a command whose standard output is, each time a connection signs in.
    sasl_oauth_token_file: FilePath | None = None
    sasl_oauth_token_command: Annotated[str, Field(min_length=1)] | None = None
    ssl_cafile: FilePath | None = None
    ssl_certfile: FilePath | None = None
    ssl_keyfile: FilePath | None = None
    ssl_key_password: SecretStr | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.security_protocol.startswith("SASL_"):
            self._check_sasl()
        else:
            self._refuse_unused("sasl_", would="SASL_SSL")
        if not self.security_protocol.endswith("SSL"):
            self._refuse_unused("ssl_", would="SSL or SASL_SSL")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ValueError("kafka.ssl_keyfile also needs kafka.ssl_certfile, the certificate of that key: set it")
        return self

    def _refuse_unused(self, prefix: str, *, would: str) -> None:
        """Raise ValueError where a setting of this prefix is given, which the protocol leaves aside."""
        for key in type(self).model_fields:
            if key.startswith(prefix) and getattr(self, key) is not None:
                raise ValueError(
                    f"kafka.{key} is set, but security_protocol {self.security_protocol} does not use it: set "
                    f"kafka.security_protocol to {would}, or leave it out"
                )

    def _check_sasl(self) -> None:
        """Raise ValueError unless all that the mechanism needs is there, each of it once."""
        if self.sasl_mechanism is None:
            raise ValueError(f"security_protocol {self.security_protocol} also needs kafka.sasl_mechanism: set it")
        if self.sasl_mechanism == "OAUTHBEARER":
            sources: tuple[str, str] = ("sasl_oauth_token_file", "sasl_oauth_token_command")
        else:
            sources = ("sasl_password", "sasl_password_file")
            if self.sasl_username is None:
                raise ValueError(f"sasl_mechanism {self.sasl_mechanism} also needs kafka.sasl_username: set it")
        given = [key for key in sources if getattr(self, key) is not None]
        if len(given) != 1:
            either = " or ".join(f"kafka.{key}" for key in sources)
            found = "both are set" if given else "neither is set"
            raise ValueError(f"sasl_mechanism {self.sasl_mechanism} needs one of {either}, and {found}")


class TopicSettings(_Group):
    """Topic names, and what a declared topic gets."""

    raw: TopicName = "news.raw.ar"
    claims: TopicName = "news.claims"
    enriched: TopicName = "news.enriched.v1"
    entities: TopicName = "news.entities.v1"
    stances: TopicName = "news.stances.v1"
    dead_letters: TopicName = "news.raw.ar.dlq"
    redriven: TopicName = "news.raw.ar.dlq.redriven"
    replays: TopicName = "news.replays"
    aliases: TopicName = "news.aliases"
    partitions: int = Field(default=4, ge=1, le=10_000)
    replication_factor: int = Field(default=1, ge=1, le=100)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        keys: dict[str, str] = {}
        for key in (key for key in type(self).model_fields if key not in ("partitions", "replication_factor")):
            name = getattr(self, key)
            if name in keys:
                raise ValueError(f"topics.{keys[name]} and topics.{key} are both {name!r}: give each a name of its own")
            keys[name] = key
        return self


class WorkerSettings(_Group):
    """The consumer group worker. Times are in the unit of their name; `http_port` 0 means no HTTP server.

    `exactly_once` takes the transactional driver in place of Faust. `instance_id` makes the worker a static member of
    its group (KIP-345): its partitions wait for its restart as long as the session lasts, so set `session_timeout_s` to
    more than a restart takes, and give each process of the group an id of its own.
    """

    group_id: str = Field(default="rasad", min_length=1)
    batch_max: int = Field(default=32, ge=1, le=10_000)
    # Some four seconds on two cores: well inside the grace period, and longer batches pad no less.
    batch_tokens: int = Field(default=16_384, ge=1, le=2**24)
    # One in so many of the articles that wait make a batch, so 4 go one by one and 128 fill it; 1 always takes all.
    batch_share: int = Field(default=4, ge=1, le=10_000)
    # Only a batch with room waits, and only while the broker holds more: see streams/batching.py.
    batch_wait_ms: int = Field(default=5, ge=0, le=60_000)
    # A broker refuses sessions outside its group.min and group.max.session.timeout.ms, 6 s and 30 min by default.
    session_timeout_s: float = Field(default=6.0, ge=6.0, le=1800.0)
    grace_s: float = Field(default=20.0, ge=0.0)
    http_host: str = Field(default="127.0.0.1", min_length=1)
    http_port: int = Field(default=0, ge=0, le=65_535)
    # The largest article takes a minute or two on two busy cores.
    stall_s: float = Field(default=240.0, gt=0.0)
    auto_offset_reset: Annotated[Literal["earliest", "latest"], BeforeValidator(_lower)] = "earliest"
    broker_wait_s: float = Field(default=60.0, ge=0.0)
    exactly_once: bool = False
    # What clients take for a group.instance.id: a topic's characters, and more than dots.
    instance_id: str | None = Field(
        default=None, max_length=249, pattern=r"^[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*$"
    )

    @property
    def heartbeat_s(self) -> float:
        """Seconds between heartbeats, however long the session: by them a member also learns of each rebalance."""
        return min(self.session_timeout_s / 3, 1.0)


class InputSettings(_Group):
    """What is taken in; `max_bytes` limits the value of one record."""

    max_bytes: int = Field(default=1_048_576, ge=1, le=2**31 - 1)


class ModelSettings(_Group):
    """Bundles by folder or name, none meaning the bundled ones; `threads` 0 takes all cores.

    `backend` torch runs a bundle's fp32 weights, where it carries them, on a GPU if there is one. `token_budget` bounds
    the padded tokens of one run of a model.
    """

    ner: str | None = Field(default=None, min_length=1)
    stance: str | None = Field(default=None, min_length=1)
    backend: Annotated[Literal["onnx", "torch"], BeforeValidator(_lower)] = "onnx"
    threads: int = Field(default=0, ge=0, le=1024)
    token_budget: int = Field(default=1024, ge=64, le=2**20)


class ClaimSettings(_Group):
    """Watched claims: the model holds an article against its `per_article` best ones that score `threshold` or more.

    Each costs as much as the headline. A higher threshold costs less and finds less, as `rasad models eval` shows.
    """

    per_article: int = Field(default=8, ge=0, le=1_000)
    threshold: float = Field(default=0.65, ge=0.0)


class LogSettings(_Group):
    """Logs on standard error; format auto is console on a terminal and json elsewhere."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    format: Annotated[Literal["auto", "json", "console"], BeforeValidator(_lower)] = "auto"


class Settings(BaseSettings):
    """All of Rasad's settings. `Settings()` is the defaults alone; `load` reads file, environment and flags."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=_PREFIX,
        env_nested_delimiter=_DELIMITER,
        env_ignore_empty=True,
        enable_decoding=False,
    )

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    worker: WorkerSettings = WorkerSettings()
    input: InputSettings = InputSettings()
    models: ModelSettings = ModelSettings()
    claims: ClaimSettings = ClaimSettings()
    logs: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing but what is passed in: `load` puts the sources together, so that it can tell them apart."""
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class Row:
    """A setting as shown to a person: `value` is JSON, secrets masked."""

    key: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and, by dotted key, where each came from.

    An origin is `default`, `file NAME`, `environment VARIABLE` or `flag`.
    """

    settings: Settings
    origins: Mapping[str, str]

    def rows(self) -> list[Row]:
        """Every setting in the order of declaration."""
        return [
            Row(f"{group}.{key}", _shown(getattr(getattr(self.settings, group), key)), self.origins[f"{group}.{key}"])
            for group, model in _groups().items()
            for key in model.model_fields
        ]


@dataclass(frozen=True, slots=True)
class _Found:
    """A value that a source gave for a key, before it is validated; `key` is dotted."""

    key: str
    value: object
    origin: str


def load(config_file: Path | None = None, overrides: Mapping[str, object] | None = None) -> Loaded:
    """Read the settings. `overrides` are flags by dotted key, those that are None left out.

    Without `config_file`, RASAD_CONFIG names the file, or else `rasad.toml` in the working directory is read where it
    exists. The environment is `RASAD_GROUP__KEY`, and for the group kafka also `KAFKA_KEY`, which is weaker.
    Raises SettingsError.
    """
    flags = [_Found(key, value, "flag") for key, value in (overrides or {}).items() if value is not None]
    found = {each.key: each for each in [*_from_file(config_file), *_from_environment(), *flags]}
    _refuse_unknown(found.values())
    values: dict[str, dict[str, object]] = {}
    for each in found.values():
        group, _, key = each.key.partition(".")
        values.setdefault(group, {})[key] = each.value
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError("\n".join(dict.fromkeys(_problem(details, found) for details in error.errors()))) from None
    origins = {key: found[key].origin if key in found else _DEFAULT for key in _keys()}
    return Loaded(settings, origins)


def _groups() -> dict[str, type[BaseModel]]:
    """The groups by name. Every field of Settings is one."""
    return {
        name: info.annotation
        for name, info in Settings.model_fields.items()
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
    }


def _keys() -> list[str]:
    return [f"{group}.{key}" for group, model in _groups().items() for key in model.model_fields]


def _from_file(config_file: Path | None) -> list[_Found]:
    named = config_file or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    path = named or Path(CONFIG_FILE)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named is None:
            return []
        raise SettingsError(f"configuration file {path} does not exist: create it or name another one") from None
    except OSError as error:
        raise SettingsError(
            f"configuration file {path} cannot be read ({error.strerror}): name a TOML file that can"
        ) from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, a number of absurd length, absurd nesting
        raise SettingsError(f"configuration file {path} is not valid TOML: {error}; mend it there") from None
    return _flattened(tables, lambda _: f"file {path}")


def _from_environment() -> list[_Found]:
    plain = [
        _Found(f"kafka.{key}", os.environ[variable], f"environment {variable}")
        for key in KafkaSettings.model_fields
        if os.environ.get(variable := f"{_KAFKA_PREFIX}{key.upper()}")
    ]
    tables = EnvSettingsSource(Settings)()
    ours = _flattened(tables, lambda key: f"environment {_PREFIX}{key.replace('.', _DELIMITER).upper()}")
    return [*plain, *ours, *_of_no_table()]


def _of_no_table() -> list[_Found]:
    """What RASAD_X__Y gives where X is none of the tables: pydantic-settings reads those of the tables alone.

    A name without `__` may be another's: Kubernetes sets RASAD_PORT for a service `rasad`.
    """
    groups = _groups()
    return [
        _Found(f"{match[1]}.{match[2]}".lower(), value, f"environment {variable}")
        for variable, value in os.environ.items()
        if value and (match := _NESTED.fullmatch(variable)) and match[1].lower() not in groups
    ]


def _flattened(tables: Mapping[str, Any], origin: Callable[[str], str]) -> list[_Found]:
    """Dotted keys of a source's tables; a group that is no table stands under its own name."""
    found: list[_Found] = []
    for group, table in tables.items():
        entries = (
            {f"{group}.{key}": value for key, value in table.items()} if isinstance(table, dict) else {group: table}
        )
        found += [_Found(key, value, origin(key)) for key, value in entries.items()]
    return found


def _refuse_unknown(found: Iterable[_Found]) -> None:
    problems = [problem for each in found if (problem := _unknown(each)) is not None]
    if problems:
        raise SettingsError("\n".join(problems))


def _unknown(found: _Found) -> str | None:
    """What is wrong with a key, or None where it is one of the settings."""
    keys, groups = _keys(), _groups()
    if found.key in keys:
        return None
    if found.key in groups:
        return f"{found.key} ({found.origin}) is a table of settings: set its keys, such as {found.key}.KEY"
    group, _, name = found.key.partition(".")
    if group in groups:
        own = list(groups[group].model_fields)
        near = [f"{group}.{key}" for key in difflib.get_close_matches(name, own, n=1)]
        others = f"the keys of {group} are {', '.join(own)}"
    else:
        near = difflib.get_close_matches(found.key, keys, n=1)
        others = f"the tables are {', '.join(groups)}"
    hint = f"did you mean {near[0]}?" if near else others
    return f"{found.key} ({found.origin}) is not a setting: {hint}"


def _problem(details: ErrorDetails, found: Mapping[str, _Found]) -> str:
    """A validation error as key, value, where it stands and what is expected."""
    message = details["msg"].removeprefix("Value error, ")
    key = ".".join(str(part) for part in details["loc"][:2])
    if key not in found:
        return f"{key}: {message}"
    each = found[key]
    group, _, name = key.partition(".")
    secret = "SecretStr" in str(_groups()[group].model_fields[name].annotation)
    value = _MASK if secret else _shown(each.value)
    return f"{key} = {value} ({each.origin}): {message[:1].lower()}{message[1:]}; change it there"


def _shown(value: object) -> str:
    """A value as JSON."""
    return json.dumps(
        value, ensure_ascii=False, default=lambda other: _MASK if isinstance(other, SecretStr) else str(other)
    )
