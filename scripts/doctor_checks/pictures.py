"""Image features: were they made from the pictures that are there?"""

from collections.abc import Iterable
from pathlib import Path

from common.errors import UserError
from common.language.features import Resolve, TextConfig, check_pictures, names_in
from scripts.doctor_checks.files import ListedFiles
from scripts.doctor_checks.findings import Finding, Fix, problem


def check_image_features(
    text: TextConfig, resolve: Resolve, files: Iterable[ListedFiles], command: Fix
) -> list[Finding]:
    """What training would refuse of readable feature files. command: makes them anew."""
    images = {s.key: Path(s.image_file) for listed in files for s in listed.present}
    findings = []
    for path in (resolve(name) for name in names_in(text.image_features)):
        try:
            check_pictures([path], text.encoder, images)
        except UserError as error:
            line, _, _ = str(error).partition("; ")
            cause = "the pictures, or the encoder's weights, were replaced after that"
            findings.append(problem("feature_pictures", line, [str(path)], cause, command))
    return findings
