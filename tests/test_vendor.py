"""JavaScript in the repository is what scripts/vendor.py downloads."""

import hashlib
import importlib.util

import pytest


@pytest.fixture
def vendor(repository):
    path = repository / "scripts" / "vendor.py"
    spec = importlib.util.spec_from_file_location("vendor", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_files_have_the_sha256_of_the_table(vendor):
    page = vendor.PLOTS_PAGE.read_text(encoding="utf-8")
    scripts = [part.partition("</script>")[0] for part in page.split("<script>")[1:]]
    inline = [package for package in vendor.PACKAGES if package.target is None]

    assert [sha256(script) for script in scripts] == [package.sha256 for package in inline]
    for package in vendor.PACKAGES:
        if package.target is not None:
            assert sha256(package.target.read_text(encoding="utf-8")) == package.sha256


def test_the_page_of_plots_names_versions_and_licenses_and_loads_nothing(vendor):
    page = vendor.PLOTS_PAGE.read_text(encoding="utf-8")

    for package in vendor.PACKAGES:
        if package.target is None:
            assert f"{package.name} {package.version}, license: {package.license}" in page
    assert "<script src" not in page
    assert "{scripts}" not in page
    assert "{plot_divs}" in page
