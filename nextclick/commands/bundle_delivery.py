"""Where a trained bundle goes: a directory, and from there to the models URI and the models topic."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from schemas.errors import BundleError

if TYPE_CHECKING:
    from rankers.bundle import Bundle
    from schemas.settings import Settings
    from trainer.config import TrainConfig
    from trainer.fit import FitResult


@dataclass(frozen=True)
class BundleDelivery:
    """What to do with a trained bundle.

    Attributes:
        out: its directory; None: a new version below the models URI if that is local.
        publish: copy it to the models URI and announce it.
        checkpoint: directory of the training's checkpoint, deleted after delivery; None without one.
    """

    out: Path | None
    publish: bool
    checkpoint: Path | None

    def check(self, config: "TrainConfig", settings: "Settings") -> None:
        """Check before the training, not after hours of it, that the bundle can be put where it shall go.

        Raises:
            BundleError: --out exists and is not a bundle, or it is to be published and no worker would serve it.
            TopicError: the models topic is missing or differs from its settings.
        """
        if self.publish:
            import asyncio

            from messaging.topics import check_topics

            config.check_session_history(settings)
            asyncio.run(check_topics(settings, [settings.models_topic]))
        if self.out is not None:
            check_free(self.out)

    def deliver(self, bundle: "Bundle", result: "FitResult", settings: "Settings") -> None:
        """Write the bundle, delete the checkpoint, and publish if `publish` is set."""
        from rankers.bundle import write_bundle
        from trainer.checkpoint import Checkpoint

        directory = self.out or default_directory(settings) / bundle.version
        digest = write_bundle(bundle, directory)
        if self.checkpoint is not None and result.losses:  # a family that counts has none, and others' stay
            Checkpoint(self.checkpoint, {}).remove()
        span = bundle.trained_on
        assert span is not None
        size = sum(path.stat().st_size for path in directory.iterdir())
        made = f"loss {result.loss:.4f}" if result.losses else "counted"
        typer.echo(
            f"{directory}: version {bundle.version}, {len(bundle.items):,} items, {span.clicks:,} clicks of "
            f"{span.sessions:,} sessions, {made}, {result.seconds:.1f} s "
            f"({result.events / result.seconds:,.0f} events/s), {size / 1e6:,.1f} MB, sha256 {digest}"
        )
        if result.validated:
            recall, mrr = result.validated[result.epoch - 1]
            typer.echo(
                f"the weights of epoch {result.epoch} of {len(result.validated)}: Recall@20 {recall:.4f}, MRR@20 "
                f"{mrr:.4f} on the newest sessions, which were not trained on"
            )
        if self.publish:
            import asyncio

            from modelregistry.change import Author
            from modelregistry.publishing import publish_bundle

            author = Author(why=f"trained by `nextclick train` on {span.source}")
            announcement = asyncio.run(publish_bundle(directory, settings, author=author))
            typer.echo(f"announced {announcement.version} at {announcement.uri}")


def check_free(out: Path) -> None:
    """Refuse a directory that holds something other than a bundle.

    Raises:
        BundleError: it exists and is neither an empty directory nor a bundle.
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "bundle.json").exists())):
        raise BundleError(f"--out {out} exists and is no model bundle: give an empty or a new directory")


def default_directory(settings: "Settings") -> Path:
    """Where new versions go: below the models URI, or below the data directory if that URI is remote."""
    scheme, separator, rest = settings.models_uri.partition("://")
    if not separator:
        return Path(settings.models_uri)
    return Path(rest) if scheme == "file" else settings.data_dir / "trained"
