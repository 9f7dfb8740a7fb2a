"""The style of the configuration, where Terraform's own tools check nothing."""

import re
from pathlib import Path

import pytest

TERRAFORM = Path(__file__).resolve().parents[1]
FILES = {path.name: path.read_text() for path in sorted(TERRAFORM.glob("*.tf"))}
BLOCK = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.M | re.S)


def blocks(kind):
    return [(name, body) for text in FILES.values() for found, name, body in BLOCK.findall(text) if found == kind]


@pytest.mark.parametrize("kind, required", [("variable", ["type", "description"]), ("output", ["description", "value"])])
def test_variables_and_outputs_are_described_and_in_order(kind, required):
    found = blocks(kind)
    assert found and [name for name, _ in found] == sorted(name for name, _ in found)
    for name, body in found:
        for argument in required:
            assert re.search(rf"^  {argument}\s+=", body, re.M), f"{kind} {name} has no {argument}"


def test_no_variable_must_be_set_and_none_is_idle():
    rest = "\n".join(text for name, text in FILES.items() if name != "variables.tf")
    for name, body in blocks("variable"):
        assert re.search(r"^  default\s+=", body, re.M), f"variable {name} must be set"
        assert re.search(rf"\bvar\.{name}\b", rest), f"variable {name} is not used"


def test_every_variable_that_is_not_a_switch_is_validated():
    for name, body in blocks("variable"):
        assert "validation {" in body or re.search(r"^  type\s+= bool$", body, re.M), f"variable {name} is not validated"


def test_labels_do_not_repeat_the_type():
    for text in FILES.values():
        for kind, label in re.findall(r'^(?:resource|data) "(\w+)" "(\w+)"', text, re.M):
            assert re.fullmatch(r"[a-z][a-z0-9_]*", label)
            assert not kind.endswith(f"_{label}"), f"{kind}.{label} repeats its type"


def test_what_other_stacks_broke_on_is_not_there():
    everything = "\n".join(re.sub(r"^\s*#.*", "", text, flags=re.M) for text in FILES.values())
    for trap, reason in {
        r"aws_apigatewayv2_deployment": "its snapshot keeps a removed route alive; the stage deploys itself",
        r"data \"aws_region\"": "its `name` is deprecated in provider 6 and its `region` missing in 5: use local.region",
        r"^provider \"": "a module with a provider block can be called neither with for_each nor with count",
        r"\bbackend \"": "a module cannot have a backend: deploy.sh hands its arguments over",
        r"key_schema": "provider 5.100 does not know it",
        r"logs:CreateLogGroup": "the groups are made here, with a retention",
        r"\bprofile\s*=": "whose credentials are used is the caller's business",
        r"\blocal-exec\b": "Terraform deploys; scripts/build.sh builds",
    }.items():
        assert not re.search(trap, everything, re.M), reason


def test_the_lock_file_serves_every_platform():
    lock = (TERRAFORM / ".terraform.lock.hcl").read_text()
    assert 'version     = "5.100.0"' in lock
    # One for the package of each platform, and one for the manifest. Without one of them `terraform init` fails there.
    assert len(re.findall(r'"zh:[0-9a-f]{64}"', lock)) == 15


def test_lines_are_not_endless():
    for name, text in FILES.items():
        for number, line in enumerate(text.splitlines(), 1):
            assert len(line) <= 150, f"{name}:{number} is {len(line)} columns wide"
