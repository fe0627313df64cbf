"""The part of the public interface that brings local modules to machines that lack them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .checks import check_text, shown
from .core.snapshot import UploadInfo
from .engines.uploads import Upload, path_of, read_upload
from .errors import OptionError
from .listing import Listing
from .options import did_you_mean

if TYPE_CHECKING:
    from .driver.driver import Driver

__all__ = ["Uploads"]


class Uploads:
    """The methods of a pool that manage what is uploaded."""

    _driver: Driver
    _uploads: dict[str, Upload]

    def upload_module(self, module: str) -> UploadInfo:
        """Bring a local module to the machines of a cluster, with the local modules that it imports.

        It is sent to each machine once, before the first call there. Workers on this machine import the
        module from where it is, so nothing is sent for them. When it has changed, upload it again: the
        workers are replaced one after another then, and no call is lost.

        Parameters
        ----------
        module : str
            A file (``"helpers.py"``), the folder of a package, or the name of a module. It has to be what is
            imported here by its name.

        Raises
        ------
        OptionError
            If it is no local module, or another one is imported here by that name.
        DefinitionError
            If it does not compile, or cannot be read.
        """
        upload = read_upload(module)
        found = path_of(upload.name)
        if found != upload.path:
            what = (
                f"import the module {upload.name} from {found}" if found else f"find no module {upload.name}"
            )
            raise OptionError(f"functions would {what}: first type sys.path.insert(0, {upload.folder!r})")
        before = self._uploads.get(upload.name)
        self._uploads[upload.name] = upload
        if before is None or before.archive.digest != upload.archive.digest:
            self._uploads_changed()
        return _info(upload)

    def remove_upload(self, *, name: str) -> None:
        """Have workers that start from now on not have an uploaded module any more.

        Raises
        ------
        OptionError
            If there is none of that name.
        """
        check_text("name", name)
        if name not in self._uploads:
            raise OptionError(f"nothing is uploaded as {shown(name)}.{did_you_mean(name, self._uploads)}")
        del self._uploads[name]
        self._uploads_changed()

    def get_uploads(self) -> list[UploadInfo]:
        """Return what is uploaded, sorted by name."""
        return Listing([_info(upload) for _, upload in sorted(self._uploads.items())], "upload")

    @property
    def needs_uploads(self) -> bool:
        """Whether workers live on machines that do not have the modules of this one."""
        return self._driver.parts.engine.name != "local"

    def _uploads_changed(self) -> None:
        if self.needs_uploads:
            self._replace_workers()

    def _replace_workers(self) -> None:
        raise NotImplementedError


def _info(upload: Upload) -> UploadInfo:
    return UploadInfo(upload.name, upload.brings, upload.path, upload.nbytes, upload.archive.digest)
