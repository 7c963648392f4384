"""The steps of making a group: which hierarchies limits need, a place in each, and the limits."""

from __future__ import annotations

from runtime.cgroup.files import read_file
from runtime.cgroup.layout import V2_NAMES
from runtime.cgroup.places import (
    enable,
    make_place,
    place_of,
    relative_path,
    remove_made,
)
from runtime.cgroup.settings import asked, pids, write_settings
from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.cgroup.group import Group
    from runtime.cgroup.layout import Hierarchy, Layout
    from runtime.cgroup.places import Place
    from runtime.cgroup.settings import Setting
    from runtime.oci.resources import Resources

_V1_NAMES = {"io": "blkio"}


def wanted(
    resources: Resources, controllers: tuple[str, ...], layout: Layout
) -> list[tuple[Hierarchy, dict[str, str]]]:
    """The hierarchies to be in; each with its controllers, and what asked for them first.

    Raises ContainerError for a controller that is nowhere.
    """
    found: list[tuple[Hierarchy, dict[str, str]]] = []
    needed = {name: f"control group {name}" for name in controllers}
    needed |= {name: f"resources.{field}" for name, field in asked(resources).items()}
    for controller, field in needed.items():
        hierarchy = layout.hierarchy_of(controller)
        if controller == "freezer" and layout.unified is not None:
            hierarchy = layout.unified  # what is frozen in v2 can still be killed
        if hierarchy is None:
            raise ContainerError(
                f"{field}: this machine has no {controller} controller ({layout.describe()})"
            )
        _add(found, hierarchy, controller, field)
    for file, _ in resources.unified:
        _add(found, *_unified_controller(file, layout))
    return found


def _add(
    found: list[tuple[Hierarchy, dict[str, str]]], hierarchy: Hierarchy, name: str, field: str
) -> None:
    for known, needed in found:
        if known == hierarchy:
            needed.setdefault(name, field)
            return
    found.append((hierarchy, {name: field}))


def _unified_controller(file: str, layout: Layout) -> tuple[Hierarchy, str, str]:
    from runtime.cgroup.v2 import check_unified

    name = check_unified(file)
    unified = layout.unified
    if unified is None or name not in ("cgroup", *unified.controllers):
        raise ContainerError(
            f"resources.unified: {file}: cgroup v2 has no {name} controller here "
            f"({layout.describe()})"
        )
    return unified, _V1_NAMES.get(name, name), f"resources.unified: {file}"


def with_place(group: Group, hierarchy: Hierarchy, needed: dict[str, str]) -> Group:
    """The group with a place in a hierarchy, and with `needed` controllers there."""
    places, notes = group.places, group.notes
    known = next((p for p in places if _is_in(p, hierarchy)), None)
    place = known
    try:
        if place is None:
            relative, absolute = relative_path(group.path, "")
            directory = place_of(hierarchy, relative, absolute=absolute)
            place = make_place(hierarchy, directory, tuple(needed))
            if hierarchy.version == 2 and not absolute and hierarchy.own != hierarchy.mount:
                notes += (f"{directory} is beside the group of pyrun, which has processes",)
        if hierarchy.version == 2:
            place = place.replace(controllers=tuple(dict.fromkeys((*place.controllers, *needed))))
            enable(hierarchy, place.directory, _v2_names(tuple(needed)))
    except ContainerError as error:
        if known is None and place is not None:
            remove_made(place.made)
        field = next(iter(needed.values()))
        raise ContainerError(f"{field}: {error.message}", hint=error.hint) from error
    return group.replace(places=(*(p for p in places if p is not known), place), notes=notes)


def _is_in(place: Place, hierarchy: Hierarchy) -> bool:
    if place.version == 2:
        return hierarchy.version == 2
    return place.controllers == hierarchy.controllers


def _v2_names(controllers: tuple[str, ...]) -> list[str]:
    """What cgroup.subtree_control calls them; the core is no controller."""
    core = ("freezer", "devices", "cgroup")
    return [V2_NAMES.get(name, name) for name in controllers if name not in core]


def join_others(group: Group, layout: Layout) -> Group:
    """The group with a place in all other hierarchies, and all controllers, that we may have."""
    for hierarchy in layout.hierarchies:
        if hierarchy.version == 1:
            parts = [hierarchy.controllers]
        else:
            parts = [("cgroup",), *((name,) for name in hierarchy.controllers)]
        for names in parts:
            needed = {_V1_NAMES.get(name, name): "control groups" for name in names}
            try:
                group = with_place(group, hierarchy, needed)
            except ContainerError:
                continue  # no limit needs it: what isn't ours, or not given to us, is left alone
    return group


def limit(group: Group, resources: Resources) -> None:
    """Set limits in the places that the group has. Raises ContainerError."""
    for place in group.places:
        for controller in place.controllers:
            write_settings(place.directory, _settings(place, controller, resources))
    if resources.unified and group.unified is not None:
        from runtime.cgroup.v2 import unified_settings

        write_settings(group.unified.directory, unified_settings(resources))
    devices = group.place_of("devices")
    if resources.devices and devices is not None:
        from runtime.cgroup.devices import set_rules

        set_rules(devices, resources.devices)


def _settings(place: Place, controller: str, resources: Resources) -> list[Setting]:
    if controller == "pids":
        return pids(resources)  # the usual case imports no more
    if place.version == 1:
        from runtime.cgroup import v1

        return v1.settings(controller, resources)
    from runtime.cgroup import v2

    return v2.settings(controller, resources, lambda file: read_file(f"{place.directory}/{file}"))


def remove_places(places: tuple[Place, ...]) -> None:
    """Undo `with_place` before any process is there."""
    for place in places:
        remove_made(place.made)
