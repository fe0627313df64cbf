"""The part of the public interface that defines dependencies: modules, and objects of modules."""

from __future__ import annotations

import dataclasses
import importlib.machinery
import importlib.util
import pkgutil
import sys
import warnings
from pathlib import Path

from .checks import check_flag, shown
from .core.registry import Kind, Record
from .core.snapshot import DependencyInfo
from .definitions import Definitions
from .errors import (
    DefinitionError,
    OptionError,
    RequirementMissingError,
)
from .listing import Listing
from .options import check_name, did_you_mean
from .wire import protocol

__all__ = ["Dependencies", "dependency_record"]


class Dependencies(Definitions):
    """The methods of a pool that manage its dependencies."""

    def define_worker_dependency(
        self,
        *,
        alias: str,
        module_specifier: str,
        export_name: str | None = None,
        is_default_export: bool = False,
        reload: bool = False,
    ) -> DependencyInfo:
        """Make a module, or an object of a module, available to the workers under a name.

        Parameters
        ----------
        alias : str
            The name in functions: ``np``.
        module_specifier : str
            The module: ``numpy``.
        export_name : str, optional
            An object of the module, instead of the module itself.
        is_default_export : bool
            Whether the object is the one with the name of the module's last part: ``datetime`` of
            ``datetime``.
        reload : bool
            Whether workers that have loaded the module reload it.

        Raises
        ------
        DefinitionError
            If this process cannot find the module, or a worker could not import it.
        OptionError
            If an argument is invalid.
        """
        check_name(alias, "alias")
        _check_module_name(module_specifier)
        if export_name is not None and (not isinstance(export_name, str) or not export_name):
            raise OptionError(f"export_name takes a name, not {shown(export_name)}")
        check_flag("is_default_export", is_default_export)
        check_flag("reload", reload)
        if is_default_export and export_name is not None:
            raise OptionError("export_name and is_default_export do not go together")
        self._change([dependency_record(alias, module_specifier, export_name, is_default_export)])
        if reload:
            self._reload(module_specifier)
        found: DependencyInfo = self._info_of(alias)
        return found

    def undefine_worker_dependency(self, *, alias: str) -> None:
        """Remove a dependency; functions that need it are refused from now on.

        Raises
        ------
        RequirementMissingError
            If there is none of that name.
        """
        self._remove(alias, Kind.DEPENDENCY, RequirementMissingError)

    def import_again(self, alias: str) -> None:
        """Have workers import a dependency anew, where they have imported what was edited since.

        Raises
        ------
        DefinitionError
            If it does not compile, or a worker could not import it: then the old one goes on.
        RequirementMissingError
            If there is none of that name.
        """
        record = self._record(alias, Kind.DEPENDENCY, RequirementMissingError)
        _check_compiles(record.wire.module)
        self._change([dataclasses.replace(record, wire=record.wire._replace(fresh=True))])

    def get_worker_dependencies(self) -> list[DependencyInfo]:
        """Return the description of each dependency, sorted by name."""
        return Listing(self._infos(Kind.DEPENDENCY), "dependency")


def dependency_record(
    alias: str, module: str, export_name: str | None = None, is_default_export: bool = False
) -> Record:
    """Return the definition of a dependency.

    Raises
    ------
    DefinitionError, OptionError
        As for `Dependencies.define_worker_dependency`.
    """
    check_name(alias, "alias")
    _check_module_exists(module)
    export = module.rpartition(".")[2] if is_default_export else export_name
    info = DependencyInfo(alias, module, export_name, is_default_export, 0)
    wire = protocol.Dependency(alias, module, export, False)
    _check_compiles(module)
    return Record(alias, Kind.DEPENDENCY, wire, info, content=wire)


def _check_compiles(module: str) -> None:
    """Refuse a module whose file does not compile: workers that import it would fail, now or later."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # a module without a file, such as ``__main__``
        return
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return
    try:
        source = importlib.util.decode_source(Path(spec.origin).read_bytes())
        with warnings.catch_warnings(action="ignore"):
            compile(source, spec.origin, "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f" ({spec.origin}, line {error.lineno})"
        raise DefinitionError(f"{module} cannot be imported: {error.msg}{where}") from None
    except ValueError as error:  # a zero byte, or bytes that are no text
        raise DefinitionError(f"{module} cannot be imported: {error} ({spec.origin})") from None
    except OSError as error:
        raise DefinitionError(f"{module} cannot be read: {error}") from None


def _check_module_name(name: object) -> None:
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        given = shown(name)
        raise OptionError(f"module_specifier takes the name of a module, such as 'os.path', not {given}")


def _check_module_exists(name: str) -> None:
    """Refuse a module that cannot be found; do not import it, since it may be meant for workers only."""
    try:
        spec = sys.modules.get(name) or importlib.util.find_spec(name)
    except (ImportError, ValueError) as error:
        raise DefinitionError(f"the module {shown(name)} cannot be found: {error}") from None
    if spec is None:
        top = (module.name for module in pkgutil.iter_modules())
        near = did_you_mean(name, [*sys.stdlib_module_names, *top])
        raise DefinitionError(f"there is no module {shown(name)} here.{near}")
