"""The configuration of a node: a TOML file, checked key by key before anything starts."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from hilum.errors import UsageError
from hilum.files import read_text
from hilum.serving.model_file import named_model


def _title(value: str) -> str:
    if not value.isascii() or not value.isprintable() or "\\" in value or value.strip() != value:
        msg = "an AE title has 1 to 16 plain characters, and no backslash or blank at its ends"
        raise ValueError(msg)
    return value


def _web(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        msg = "a URL begins with http:// or https://"
        raise ValueError(msg)
    return value.rstrip("/")


Title = Annotated[str, Field(min_length=1, max_length=16), AfterValidator(_title)]
Port = Annotated[int, Field(ge=0, le=65535)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Url = Annotated[str, AfterValidator(_web)]
Text = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Tls(_Part):
    """Mutual TLS (PS3.15, B.9): each side shows a certificate of a known authority.

    Attributes:
        certificate: Own certificate, a PEM file.
        key: Its key, a PEM file.
        authorities: Certificates of whoever may sign the peer's, a PEM file.
    """

    certificate: Path
    key: Path
    authorities: Path


class Listen(_Part):
    """Where the node takes images (C-STORE, C-ECHO).

    Attributes:
        host: Address.
        port: Port; 0 for any that is free.
        ae_title: By which it has to be called.
        calling: AE titles that may call. This is no authentication: use `tls`.
        associations: Most at a time.
        tls: Mutual TLS; without it connections are plain.
    """

    host: str = "127.0.0.1"
    port: Port = 11112
    ae_title: Title = "HILUM"
    calling: Annotated[tuple[Title, ...], Field(min_length=1)]
    associations: Annotated[int, Field(ge=1, le=256)] = 8
    tls: Tls | None = None


class Limits(_Part):
    """What is accepted.

    Attributes:
        object_mib: Largest object, in MiB.
        free_mib: Free disk space below which images are refused as "out of resources", in MiB.
        waiting: Most images that wait for the network; further ones are refused as "out of resources".
        attempts: Times that a result is sent before the delivery counts as dead.
        first_delay: Seconds after the first failure; each further one waits twice as long.
        longest_delay: Longest wait, in seconds.
        threads: Number of threads of the predictor; 0 for as many as there are cores.
        patience: Seconds that a peer may be silent.
    """

    object_mib: Annotated[int, Field(ge=1, le=256)] = 64
    free_mib: Annotated[int, Field(ge=0)] = 256
    waiting: Annotated[int, Field(ge=1)] = 100_000
    attempts: Annotated[int, Field(ge=1)] = 1000
    first_delay: Annotated[float, Field(gt=0)] = 1.0
    longest_delay: Annotated[float, Field(gt=0)] = 300.0
    threads: Annotated[int, Field(ge=0)] = 0
    patience: Annotated[float, Field(gt=0)] = 30.0


class Retention(_Part):
    """How long files stay on this machine. Files that are not sent yet are kept in any case.

    Attributes:
        days: Days after which image and results are deleted; 0 for at once when all is sent.
        record_days: Days after which the row in the queue, which holds hashes only, is deleted; until then an image
            that comes again is known.
    """

    days: Annotated[float, Field(ge=0)] = 0.0
    record_days: Annotated[float, Field(gt=0)] = 365.0

    @model_validator(mode="after")
    def _ordered(self) -> Retention:
        if self.record_days < self.days:
            msg = "record_days is less than days: a file would outlive its record"
            raise ValueError(msg)
        return self


class Operations(_Part):
    """Where health and metrics are asked for over HTTP.

    Attributes:
        host: Address; there is no authentication, so let it be loopback.
        port: Port; 0 for any that is free.
    """

    host: str = "127.0.0.1"
    port: Port = 8042


class Audit(_Part):
    """The audit trail (PS3.15, A.5).

    Attributes:
        file: Where messages are appended, one XML document a line.
        identifiers: ``hashed``: StudyInstanceUIDs as hashes; ``plain``: as they are, as the standard asks.
    """

    file: Path
    identifiers: Literal["hashed", "plain"] = "hashed"


class Rule(_Part):
    """Which images a model answers. An empty condition is met by any image.

    Attributes:
        name: Of the rule, unique.
        model: Model file, or name of a model that comes with hilum; empty for ``paediatric-pneumonia``.
        modality: Values of Modality.
        view: Projections: PA, AP, LL, RL, LATERAL, ...
        station: Values of StationName.
        youngest: Smallest age in years; an image without an age does not meet it.
        oldest: Largest age in years.
        destinations: Names of whoever gets the results.
        enhanced: Whether reports are Enhanced SR, for archives that refuse Comprehensive 3D SR.
        heatmap: Whether a heatmap is sent, too (Secondary Capture).
        refusals: ``record``: an image that is refused (another body part, damaged) is only recorded; ``report``: a
            report without probabilities says so.
    """

    name: Name
    model: str = ""
    modality: tuple[Text, ...] = ()
    view: tuple[Text, ...] = ()
    station: tuple[Text, ...] = ()
    youngest: Annotated[float, Field(ge=0)] | None = None
    oldest: Annotated[float, Field(ge=0)] | None = None
    destinations: Annotated[tuple[Name, ...], Field(min_length=1)]
    enhanced: bool = False
    heatmap: bool = False
    refusals: Literal["record", "report"] = "record"


class Web(_Part):
    """How a DICOMweb service is reached.

    Attributes:
        url: Its base, such as ``https://archive:8042/dicom-web``.
        token_file: File with a bearer token.
        user_file: File with ``user:password``.
        authorities: Certificates of whoever may sign the service's, a PEM file; by default the usual ones.
    """

    url: Url
    token_file: Path | None = None
    user_file: Path | None = None
    authorities: Path | None = None

    @model_validator(mode="after")
    def _one(self) -> Web:
        if self.token_file and self.user_file:
            msg = "give token_file or user_file, not both"
            raise ValueError(msg)
        return self


class Dimse(_Part):
    """How a store SCP is reached.

    Attributes:
        host: Address.
        port: Port.
        ae_title: By which it is called.
        tls: Mutual TLS; without it the connection is plain.
    """

    host: Text
    port: Annotated[int, Field(ge=1, le=65535)]
    ae_title: Title
    tls: Tls | None = None


class Destination(_Part):
    """Whoever gets results: exactly one of `dicom` (C-STORE) and `web` (STOW-RS).

    Attributes:
        name: Of the destination, unique.
        dicom: A store SCP.
        web: A DICOMweb service.
    """

    name: Name
    dicom: Dimse | None = None
    web: Web | None = None

    @model_validator(mode="after")
    def _one(self) -> Destination:
        if (self.dicom is None) == (self.web is None):
            msg = "give one of [destination.dicom] and [destination.web]"
            raise ValueError(msg)
        return self


class Source(_Part):
    """An archive that is polled (QIDO-RS) and fetched from (WADO-RS).

    Attributes:
        name: Of the source, unique.
        web: The DICOMweb service.
        every: Seconds between two queries.
        days: How far back StudyDate may lie; 0 for today only.
        modality: Values of Modality that are asked for.
        most: Most instances that one query asks for at a time; further ones are asked for in pages.
    """

    name: Name
    web: Web
    every: Annotated[float, Field(gt=0)] = 30.0
    days: Annotated[int, Field(ge=0)] = 1
    modality: Annotated[tuple[Text, ...], Field(min_length=1)] = ("CR", "DX")
    most: Annotated[int, Field(ge=1, le=10_000)] = 200


class Configuration(_Part):
    """All of a node.

    Attributes:
        folder: Where images, results and the queue lie; only the node's user should have access.
        listen: The store SCP; None where the node only polls.
        limits: What is accepted.
        retention: How long files stay.
        operations: Health and metrics.
        audit: The audit trail; None for none.
        rule: The first one that an image meets is applied.
        destination: Whoever gets results.
        source: Archives that are polled.
    """

    folder: Path
    listen: Listen | None = None
    limits: Limits = Limits()
    retention: Retention = Retention()
    operations: Operations = Operations()
    audit: Audit | None = None
    rule: Annotated[tuple[Rule, ...], Field(min_length=1)]
    destination: Annotated[tuple[Destination, ...], Field(min_length=1)]
    source: tuple[Source, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Configuration:
        for kind in ("rule", "destination", "source"):
            names = Counter(one.name for one in getattr(self, kind))
            if twice := [name for name, count in names.items() if count > 1]:
                msg = f"two of [[{kind}]] are called '{twice[0]}'"
                raise ValueError(msg)
        known = {one.name for one in self.destination}
        for rule in self.rule:
            if unknown := [name for name in rule.destinations if name not in known]:
                msg = f"rule '{rule.name}' names the destination '{unknown[0]}', which does not exist"
                raise ValueError(msg)
        if self.listen is None and not self.source:
            msg = "give [listen], [[source]] or both: otherwise no image can come"
            raise ValueError(msg)
        return self


def read_configuration(file: Path) -> Configuration:
    """Read a configuration; relative paths in it begin at its folder.

    Raises:
        UsageError: It cannot be read, or a key is unknown, missing or has an impossible value.
    """
    try:
        values = tomllib.loads(read_text(file))
        return Configuration.model_validate(_absolute(values, file.absolute().parent))
    except ValidationError as error:
        msg = f"{file}: {_faults(error)}. Correct it; docs/how-to/node.md lists the keys."
        raise UsageError(msg, code="node-configuration", path=file) from error
    except (OSError, ValueError, RecursionError) as error:
        msg = f"{file}: cannot be read as TOML ({error}). Begin with deploy/orthanc/node.toml."
        raise UsageError(msg, code="node-configuration", path=file) from error


PATHS = frozenset({"folder", "certificate", "key", "authorities", "token_file", "user_file", "file", "model"})


def _absolute(values: Any, folder: Path) -> Any:
    if isinstance(values, list):
        return [_absolute(each, folder) for each in values]
    if not isinstance(values, dict):
        return values
    return {
        key: str(named_model(value, folder) if key == "model" else folder / value)
        if key in PATHS and isinstance(value, str) and value and not value.startswith("hf://")
        else _absolute(value, folder)
        for key, value in values.items()
    }


def _faults(error: ValidationError) -> str:
    """Which keys are wrong, in the file's own words."""
    found = []
    for fault in error.errors():
        where = ".".join(str(part + 1) if isinstance(part, int) else part for part in fault["loc"])
        what = {"extra_forbidden": "no such key", "missing": "is missing"}.get(fault["type"])
        what = what or fault["msg"].removeprefix("Value error, ")
        found.append(f"{where}: {what}" if where else what)
    return "; ".join(found)
