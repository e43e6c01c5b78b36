"""The parts of FHIR R4 that hilum writes, as frozen records (https://hl7.org/fhir/R4)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class _Element(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class Coding(_Element):
    """A code of a system."""

    system: str
    code: str
    display: str


class CodeableConcept(_Element):
    """What is meant, in codes and words."""

    coding: tuple[Coding, ...] = ()
    text: str | None = None


class Identifier(_Element):
    """What something is called in a system."""

    system: str
    value: str


class Reference(_Element):
    """Another resource: of the same bundle, or by what it is called elsewhere."""

    reference: str | None = None
    type: str | None = None
    identifier: Identifier | None = None


class Quantity(_Element):
    """A number with its unit."""

    value: float
    unit: str = "1"
    system: str = "http://unitsofmeasure.org"
    code: str = "1"


class Annotation(_Element):
    """A remark."""

    text: str


class DeviceName(_Element):
    """What a device is called."""

    name: str
    type: Literal["model-name", "manufacturer-name", "user-friendly-name"]


class DeviceVersion(_Element):
    """The version of a part of a device."""

    value: str


class Device(_Element):
    """The model, as the device that observed."""

    resource_type: Literal["Device"] = "Device"
    id: str
    identifier: tuple[Identifier, ...]
    manufacturer: str
    device_name: tuple[DeviceName, ...]
    version: tuple[DeviceVersion, ...]
    note: tuple[Annotation, ...]


class Observation(_Element):
    """One statement about the image."""

    resource_type: Literal["Observation"] = "Observation"
    id: str
    status: Literal["preliminary", "cancelled"]
    category: tuple[CodeableConcept, ...]
    code: CodeableConcept
    subject: Reference | None
    value_quantity: Quantity | None = None
    value_codeable_concept: CodeableConcept | None = None
    note: tuple[Annotation, ...] | None = None
    body_site: CodeableConcept
    device: Reference
    derived_from: tuple[Reference, ...]


class DiagnosticReport(_Element):
    """All that is said about the image."""

    resource_type: Literal["DiagnosticReport"] = "DiagnosticReport"
    id: str
    identifier: tuple[Identifier, ...]
    status: Literal["preliminary", "cancelled"]
    category: tuple[CodeableConcept, ...]
    code: CodeableConcept
    subject: Reference | None
    issued: str
    result: tuple[Reference, ...]
    imaging_study: tuple[Reference, ...]
    conclusion: str
    conclusion_code: tuple[CodeableConcept, ...] | None = None


class ProvenanceAgent(_Element):
    """Who made it."""

    type: CodeableConcept
    who: Reference


class ProvenanceEntity(_Element):
    """What it was made from."""

    role: Literal["source"]
    what: Reference


class Provenance(_Element):
    """Which program made the report, when, and from what."""

    resource_type: Literal["Provenance"] = "Provenance"
    id: str
    target: tuple[Reference, ...]
    recorded: str
    agent: tuple[ProvenanceAgent, ...]
    entity: tuple[ProvenanceEntity, ...]


class Entry(_Element):
    """A resource of a bundle."""

    full_url: str
    resource: DiagnosticReport | Observation | Device | Provenance


class Bundle(_Element):
    """What belongs together, in one file."""

    resource_type: Literal["Bundle"] = "Bundle"
    id: str
    type: Literal["collection"] = "collection"
    timestamp: str
    entry: tuple[Entry, ...]

    def to_json(self) -> str:
        """As FHIR's JSON holds it, in ASCII."""
        from hilum.files import json_text

        return json_text(self.model_dump(mode="json", by_alias=True, exclude_none=True), indent=2) + "\n"
