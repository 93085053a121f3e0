"""Enabling and disabling units as links below /usr."""

from pathlib import Path

import pytest
from compose_trees import fill, new_repo

from ostler.compose.edit import TreeEditor
from ostler.compose.units import UnitError, disable, enable, full_name, parse_install, template_of
from ostler.definition.model import Item
from ostler.store.tree import Directory

HOME = "usr/lib/systemd/system"
UNITS = {
    f"{HOME}/web.service": (
        "[Unit]\n[Install]\nWantedBy=multi-user.target \\\n  other.target\nAlias=www.service\nAlso=web.socket\n"
    ),
    f"{HOME}/web.socket": "[Install]\nWantedBy=sockets.target\n",
    f"{HOME}/plain.service": "[Service]\nExecStart=/bin/true\n",
    f"{HOME}/job@.service": "[Install]\nWantedBy=%i.target\nDefaultInstance=first\n",
    f"{HOME}/open@.service": "[Install]\nRequiredBy=multi-user.target\n",
    f"{HOME}/masked.service": "-> /dev/null",
    "etc/systemd/system/local.service": "[Install]\nWantedBy=multi-user.target\n",
    "usr/share/containers/systemd/app.container": "[Container]\n",
}


@pytest.fixture
def tree(tmp_path: Path):
    repo = new_repo(tmp_path)
    with repo.transaction() as transaction:
        yield fill(TreeEditor(repo, transaction, Directory()), UNITS)


def items(*names: str) -> list[Item]:
    return [Item(name, "systemd/enable.txt", line) for line, name in enumerate(names, 3)]


def test_links_aliases_and_also_are_made(tree):
    assert enable(tree, items("web")) == []
    assert tree.target(f"{HOME}/multi-user.target.wants/web.service") == "../web.service"
    assert tree.target(f"{HOME}/other.target.wants/web.service") == "../web.service"
    assert tree.target(f"{HOME}/www.service") == "web.service"
    assert tree.target(f"{HOME}/sockets.target.wants/web.socket") == "../web.socket"


def test_instances_of_templates(tree):
    enable(tree, items("job@second.service", "job@.service", "open@x"))
    assert tree.target(f"{HOME}/second.target.wants/job@second.service") == "../job@.service"
    assert tree.target(f"{HOME}/first.target.wants/job@first.service") == "../job@.service"
    assert tree.target(f"{HOME}/multi-user.target.requires/open@x.service") == "../open@.service"


def test_a_template_without_a_default_needs_an_instance(tree):
    with pytest.raises(UnitError, match=r"systemd/enable.txt:3: open@.service is a template"):
        enable(tree, items("open@.service"))


def test_units_of_the_overlay_are_linked_by_their_full_path(tree):
    enable(tree, items("local.service"))
    assert tree.target(f"{HOME}/multi-user.target.wants/local.service") == "/etc/systemd/system/local.service"


def test_an_unknown_unit_is_named_with_its_line_and_the_nearest_name(tree):
    with pytest.raises(UnitError) as caught:
        enable(tree, items("web", "wbe.service"))
    assert (
        caught.value.message
        == "systemd/enable.txt:4: there is no unit wbe.service in the image; did you mean `web.service`?"
    )


def test_a_quadlet_says_how_it_is_enabled(tree):
    with pytest.raises(UnitError, match="made from the quadlet") as caught:
        enable(tree, items("app"))
    assert "[Install]" in (caught.value.hint or "")


def test_masked_units_and_units_without_install_are_told(tree):
    with pytest.raises(UnitError, match="is masked"):
        enable(tree, items("masked.service"))
    assert enable(tree, items("plain")) == [
        "systemd/enable.txt:3: plain.service has no [Install] section, so enabling it does nothing"
    ]


def test_disabling_removes_every_link_but_not_the_unit(tree):
    enable(tree, items("web"))
    disable(tree, items("web"))
    assert not tree.exists(f"{HOME}/multi-user.target.wants/web.service")
    assert not tree.exists(f"{HOME}/www.service")
    assert tree.exists(f"{HOME}/web.service")
    assert tree.exists(f"{HOME}/sockets.target.wants/web.socket")


def test_an_empty_assignment_clears_and_names_are_completed():
    assert parse_install("[Install]\nWantedBy=a.target\nWantedBy=\nWantedBy=b.target\n").links == (
        ("wants", "b.target"),
    )
    assert full_name("ssh") == "ssh.service"
    assert full_name("a.timer") == "a.timer"
    assert full_name("my.app") == "my.app.service"
    assert template_of("a@b.service") == ("a@.service", "b")
    assert template_of("a.service") is None
