"""Values of fields: those that a caller may well send, and those that nobody should."""

import base64
import json
from collections.abc import Callable
from random import Random
from typing import Any
from uuid import UUID

from google.protobuf.descriptor import FieldDescriptor

from relman_server.kernel.rpc import descriptors
from tests.fuzz.known import Known

CANARY = "canary-in-every-secret-field"
"""Put into every sensitive field; must come back nowhere."""

LONG = ("x" * 320, "x" * 321, "x" * 4097, "x" * 70_000, "💥" * 300, "9" * 5000, " " * 2000, "a-" * 500, "\n" * 1000)
ODD_TEXTS = (
    *("", " ", "\0", "a\0b", "\n", "a\r\nb", "\t", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u202e", "\ufeff", "\ufffe"),
    *("\ud7ff", "\ue000", "\U0010ffff", "e\u0301", "ß", "\u0130", "\u017f", "\u0661", "²", "Ⅷ", "💥"),
    *("'", '"', "\\", "%", "_", "%s%n", "{}", "{0}", "$1", "'; drop table release; --", "<b>", "=1+1", "-", "--", "*"),
    *("NULL", "None", "nan", "-0", "1e309", "0x10", "true", "[]", "{}", '{"t":1}', "../../etc/hostname", "/", "a/b/c"),
    *("@", "a@", "@1.0.0", "a@b", "a@@b", "a@b@c", "ö@example.com", "a.b@[::1]", "*@*"),
    *("1.0", "1.0.0.0", "v1.0.0", "vv1.0.0", "01.0.0", "1.0.0-", "1.0.0-..", "1.0.0+a+b", f"{10**40}.0.0", "-1.0.0"),
    *("name desc", "name asc asc", "created_at desc, name", "created_at  desc", "CREATED_AT", "id", "1", "desc"),
    *("Europe/Atlantis", "UTC", "../UTC", "/etc/localtime", "Europe", "+02:00", "24:00", "23:59", "-1:00", "00:60"),
    *('"open', "a AND", "NEAR(", "a OR -b", "-", "a*", ":*", "a & | !b", "(((", "title:x", "^", "a" * 60 + "!"),
    *("2026-13-45T99:99:99Z", "0000-00-00", "9999-12-31T23:59:59.999999+14:00", "P1D", "infinity", "epoch", "now"),
)
ODD_IDS = (
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "01890a5d-ac96-774b-bcce-b302099a8057",
    "01890A5D-AC96-774B-BCCE-B302099A8057",
    "{01890a5d-ac96-774b-bcce-b302099a805}",
    "urn:uuid:01890a5d-ac96-774b-bcce-b302",
    "01890a5dac96774bbcceb302099a8057",
    "-" * 36,
    "01890a5d_ac96_774b_bcce_b302099a8057",
)
SMALL = (0, 1, -1, 2, 99, 100, 101, 500, 501, 65_536, 10**6, 10**7, 2**31 - 1, -(2**31))
NUMBERS = (*SMALL, 2**31, 2**53, 2**62, 2**62 + 1, 10**18, 2**63 - 1, -(2**63), -(2**62))
FRACTIONS = (0.0, -0.0, 0.1, 1.0, -1.0, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"), 2.0**63)
SECONDS = (
    *(0, 1, -1, 60, 3600, 10**9, 1_767_225_600, 1_893_456_000),
    *(253_402_300_799, 253_402_300_800, -62_135_596_800, -62_135_596_801),
    *(315_576_000_000, 315_576_000_001, -315_576_000_000, 2**62, -(2**62), 2**63 - 1, -(2**63), 10**11, -(10**11)),
)
NANOS = (0, 0, 0, 1, 999_999_999, 1_000_000_000, 500, -1, -999_999_999, 2**31 - 1, -(2**31))
ODD_MASKS: tuple[list[str], ...] = (
    *([], [""], ["*"], ["*", "name"], ["nothing"], ["id"], ["etag"], ["name", "name"], ["name.x"]),
    *(["a." * 200], ["x"] * 1000),
)
JSON: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**70, 1.5, "", "x", "\0", [], {}, [1]),
    *({"t": "x"}, {"t": 1}, {"t": "2026-01-01"}, {"t": "9999-12-31T23:59:59-23:59"}, {"u": "x"}, {"u": 1}),
)

LIKELY_TEXTS: dict[str, tuple[str, ...]] = {
    "end": ("06:00", "18:00", "24:00"),
    "key": ("build", "commit"),
    "metric_name": ("latency_p99", "error_rate"),
    "order_by": ("", "", "created_at", "created_at desc", "name", "name desc", "revision", "order", "updated_at desc"),
    "permission": ("releases.create", "deployments.read"),
    "permissions": ("releases.create", "deployments.read"),
    "query": ("", "a", "environment", "1.0"),
    "resource_type": ("release", "deployment"),
    "start": ("00:00", "09:00", "22:00"),
    "tags": ("database", "network"),
    "time_zone": ("UTC", "Europe/Berlin", "America/New_York"),
    "unit": ("ms", "%"),
    "version": ("1.2.3", "2.0.0-rc.1", "v3.0.0"),
}
LIKELY_NUMBERS: dict[str, tuple[int, ...]] = {
    "fencing_token": (1, 1, 2),
    "first_sequence": (1, 4, 4, 5),
    "last_sequence": (0, 3, 4),
    "max_depth": (1, 10),
    "order": (0, 1, 2, 3),
    "progress_percent": (0, 50, 100),
    "required_approvals": (0, 0, 1),
    "timeout_seconds": (0, 60, 3600),
}


class Values:
    """Values for single fields, for one operation.

    Args:
        rng: Where chance comes from.
        known: What can be referred to.
    """

    def __init__(self, rng: Random, known: Known) -> None:
        self.rng = rng
        self.known = known

    def likely(self, each: FieldDescriptor) -> Any:
        """Return a value that a caller may well send; not for messages."""
        rng = self.rng
        ways: dict[int, Callable[[], Any]] = {
            FieldDescriptor.CPPTYPE_BOOL: lambda: rng.random() < 0.3,
            FieldDescriptor.CPPTYPE_DOUBLE: lambda: round(rng.uniform(0, 1000), 2),
            FieldDescriptor.CPPTYPE_ENUM: lambda: rng.choice(_numbers(each)),
            FieldDescriptor.CPPTYPE_STRING: lambda: self._likely_text(each),
        }
        number = LIKELY_NUMBERS.get(each.name, (0, 0, 1, 2, 5, 10))
        return _typed(each, ways.get(each.cpp_type, lambda: rng.choice(number))())

    def _likely_text(self, each: FieldDescriptor) -> str:
        rng = self.rng
        fresh = f"n{rng.getrandbits(32):08x}"
        made = {
            "commit": f"{rng.getrandbits(160):040x}",
            "email": f"{fresh}@example.com",
            "id": str(UUID(int=rng.getrandbits(128))),
            "url": f"https://example.com/{fresh}",
        }
        word = each.name.rpartition("_")[2]
        if word in made and each.name != "id":
            return made[word]
        if each.name in LIKELY_TEXTS:
            return rng.choice(LIKELY_TEXTS[each.name])
        if descriptors.is_sensitive(each) and rng.random() < 0.5:
            return CANARY
        known = self.known.of(each)
        if not known or (each.name in {"name", "username"} and rng.random() < 0.7):
            return rng.choice((fresh, fresh, "", f"A sentence about {fresh}."))
        return rng.choice(known)

    def nasty(self, each: FieldDescriptor) -> Any:
        """Return a value that nobody should send; of the field's type, and not for messages."""
        rng = self.rng
        ways: dict[int, Callable[[], Any]] = {
            FieldDescriptor.CPPTYPE_BOOL: lambda: rng.random() < 0.5,
            FieldDescriptor.CPPTYPE_DOUBLE: lambda: rng.choice(FRACTIONS),
            FieldDescriptor.CPPTYPE_ENUM: lambda: rng.choice((-1, 99_999, 2**31 - 1, -(2**31), *_numbers(each))),
            FieldDescriptor.CPPTYPE_INT32: lambda: rng.choice(SMALL),
            FieldDescriptor.CPPTYPE_STRING: lambda: self.nasty_text(each),
        }
        return _typed(each, ways.get(each.cpp_type, lambda: rng.choice(NUMBERS))())

    def nasty_text(self, each: FieldDescriptor) -> str:
        """Return text that nobody should send there, for example what means something elsewhere."""
        rng = self.rng
        ways: tuple[Callable[[], str], ...] = (
            lambda: rng.choice(ODD_TEXTS),
            lambda: rng.choice(ODD_TEXTS),
            lambda: rng.choice(ODD_IDS),
            lambda: rng.choice(LONG),
            self._out_of_place,
            lambda: self._disfigured(rng.choice(self.known.of(each) or [""])),
            lambda: "".join(chr(rng.choice((rng.randrange(1, 0xD800), rng.randrange(0x80)))) for _ in range(12)),
        )
        return rng.choice(ways)()

    def _out_of_place(self) -> str:
        words = self.known.words
        return self.rng.choice(self.known.about(self.rng.choice(words))) if words else ""

    def _disfigured(self, text: str) -> str:
        rng = self.rng
        if rng.random() < 0.6:
            forged = self._forged(text)
            if forged is not None:
                return forged
        place = rng.randint(0, len(text))
        changes = (
            text[:place],
            text.upper(),
            f"{text} ",
            f" {text}",
            text + text,
            text[:place] + rng.choice(ODD_TEXTS) + text[place:],
            text[:place] + rng.choice("0aZ-_=~") + text[place + 1 :],
        )
        return rng.choice(changes)

    def _forged(self, token: str) -> str | None:
        """Return a token, which is JSON in base64, with one thing in it changed; None when that is not what it is."""
        try:
            fields = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        except (ValueError, RecursionError):
            return None
        places: list[tuple[Any, Any]] = []
        _collect(fields, places)
        if not places:
            return None
        holder, key = self.rng.choice(places)
        holder[key] = self.rng.choice(JSON)
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")


def _numbers(each: FieldDescriptor) -> list[int]:
    assert each.enum_type is not None
    return [value.number for value in each.enum_type.values]


def _typed(each: FieldDescriptor, value: Any) -> Any:
    """Return text as bytes where the field is of bytes."""
    return value.encode() if each.type == FieldDescriptor.TYPE_BYTES else value


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    """Note everything inside lists and objects, as what holds it and where."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        places.append((value, key))
        _collect(inner, places)
