"""`backup-agent signing`: make a key, and show which keys are trusted."""

from collections import Counter
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import click

from backup_agent import durable
from backup_agent.catalog.place import Place, place_of
from backup_agent.catalog.signatures import signatures
from backup_agent.catalog.unsigned import unsigned_at
from backup_agent.cli import printing
from backup_agent.cli.audit_trail import tell_if_here
from backup_agent.cli.configured import loaded
from backup_agent.cli.help import DONE, FAILED, WARNED, DocumentedCommand, DocumentedGroup
from backup_agent.cli.options import PLACE, json_option, place_option, settings_option
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.audit.lines import AuditKind, AuditLine
from backup_agent.core.escaping import first_few
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.settings.faults import SettingsError
from backup_agent.signing import key_file
from backup_agent.signing.key_file import fingerprint, public_key_of


@click.group(cls=DocumentedGroup)
def command() -> None:
    """Make keys that sign records, and show which keys are trusted."""


@command.command(
    "new",
    cls=DocumentedCommand,
    examples=("backup-agent signing new --out key.pem",),
    exits={DONE: "the key is written", FAILED: "the file exists already, or cannot be written"},
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write. It must not exist yet; only its owner may read it.",
)
@settings_option
@json_option
@click.pass_context
def new_command(context: click.Context, out: Path, *, as_json: bool) -> int:
    """Make a private key, and print the fingerprint of its public key.

    Keep a copy of the file away from the cluster. Neither the agent nor a backup contains the key. Needs no settings
    file; in the agent's pod the audit log gets a line.
    """
    try:
        made = key_file.create(out)
    except OSError as error:
        raise PermanentError(
            Reason.ALREADY_EXISTS if isinstance(error, FileExistsError) else Reason.INVALID_REQUEST,
            f"{out}: no key was written: {error.strerror}",
            "give the name of a new file in a folder that you may write to",
        ) from error
    with suppress(SettingsError):  # on a machine of its own
        volume = place_of(VOLUME, loaded(context).settings)
        tell_if_here(volume, AuditLine(kind=AuditKind.KEY_MADE, facts={"fingerprint": made, "file": str(out)}))
    if as_json:
        printing.as_json({"file": str(out), "fingerprint": made})
    else:
        printing.line(f"{out}: a new key")
        printing.line(made)
    return 0


@command.command(
    "show",
    cls=DocumentedCommand,
    examples=("backup-agent signing show",),
    exits={DONE: "shown", WARNED: "the key of the agent cannot be used, or is revoked"},
)
@settings_option
@json_option
@click.pass_context
def show_command(context: click.Context, *, as_json: bool) -> int:
    """Show the keys of the settings by their fingerprints."""
    settings = loaded(context).settings.signing
    own = fault = None
    if settings.key_file is not None:
        try:
            own = fingerprint(public_key_of(key_file.load(settings.key_file)))
        except PermanentError as error:
            fault = error.failure
    revoked = {key: time.isoformat() for key, time in settings.revoked.items()}
    if as_json:
        printed = {"own": own, "fault": fault and fault.error, "trusted": settings.trusted, "revoked": revoked}
        printing.as_json({"key_file": settings.key_file and str(settings.key_file), **printed})
    else:
        rows = [["own", own, str(settings.key_file)]] if own else []
        rows += [["trusted", key, ""] for key in settings.trusted]
        rows += [["revoked", key, _since(time)] for key, time in settings.revoked.items()]
        if rows:
            printing.table(["KEY", "FINGERPRINT", "NOTE"], rows, never_cut=(1,))
        elif fault is None:
            printing.line("nothing is signed: signing.key_file is not set, and no key is trusted")
        if fault is not None:
            printing.lines((fault.error, f"HINT: {fault.advice}"), err=True)
    return 0 if fault is None and own not in settings.revoked else 3


@command.command(
    "check",
    cls=DocumentedCommand,
    examples=("backup-agent signing check --place offsite",),
    exits={
        DONE: "every record is signed by a key of the settings",
        FAILED: "the place cannot be read",
        WARNED: "a record is not signed by a key of the settings, or was signed after its key was revoked",
    },
)
@place_option
@settings_option
@json_option
@click.pass_context
def check_command(context: click.Context, place: str, *, as_json: bool) -> int:
    """Show which keys signed the recognised records of a place. Every record is read."""
    settings = loaded(context).settings
    at = place_of(place, settings)
    found = list(signatures(at))
    revoked = settings.signing.revoked
    late = [one.artifact for one in found if one.key in revoked and one.finished >= revoked[one.key]]
    unsigned = [one.artifact for one in found if one.key is None]
    counts = Counter(one.key for one in found if one.key is not None)
    if as_json:
        printed = {"signed": counts, "unsigned": unsigned, "signed_after_revocation": late}
        printing.as_json({"place": at.name, **printed})
    else:
        records = printing.counted(len(found), "recognised record", "recognised records")
        printing.line(f"{at.name}: {records}")
        for key, number in sorted(counts.items()):
            printing.line(f"signed by {key}: {number}")
        if unsigned:
            printing.line(f"not signed by a key of the settings ({len(unsigned)}): {first_few(unsigned)}", err=True)
        if late:
            printing.line(f"signed after the key was revoked ({len(late)}): {first_few(late)}", err=True)
    return 3 if unsigned or late else 0


@command.command(
    "sign",
    cls=DocumentedCommand,
    examples=("backup-agent signing sign --place offsite",),
    exits={DONE: "noted for the next pass of retention", FAILED: "the place cannot be read"},
)
@click.option("--place", required=True, metavar=PLACE, help="A destination.")
@settings_option
@json_option
@click.pass_context
def sign_command(context: click.Context, place: str, *, as_json: bool) -> int:
    """Have records of a destination signed by the agent's own key.

    These are the recognised records that no key of the settings has signed. The next pass of retention signs them.
    Nothing else of a record changes.
    """
    at = place_of(place, loaded(context).settings)
    if at.is_volume:
        raise click.UsageError("records on the volume are recognised by their notes: name a destination", context)
    wanted = _to_be_signed(at)
    if as_json:
        printing.as_json({"place": at.name, "to_be_signed": wanted})
    else:
        records = printing.counted(len(wanted), "record", "records")
        printing.line(f"{at.name}: {records} to be signed by the next pass")
    return 0


@durable.closed_to_others()
def _to_be_signed(place: Place) -> list[str]:
    wanted = [one.artifact for one in signatures(place) if one.key is None]
    for key in wanted:
        unsigned_at(place).add(key)
    return wanted


def _since(time: datetime) -> str:
    return f"not trusted from {printing.moment(time)} on"
