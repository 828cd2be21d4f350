"""What VQAE's paper counts (Eqs. S11 to S17), against the numbers in its tables."""

import pytest

from fedbits.labels import CODECS, CodecConfig

CLASSES, EPOCHS, GIB = 1000, 300, 1024**3
# Table S8, by the compression rate.
SETTINGS = {
    10: (795, 5, 1024),
    20: (990, 15, 2048),
    30: (1000, 20, 1024),
    40: (1000, 25, 512),
    100: (1000, 50, 128),
    200: (1000, 100, 64),
}
# Table S7, column "Ours", in GB: by rate and images per class.
PUBLISHED = {
    10: {10: 0.558, 20: 1.114, 50: 2.779, 100: 5.556},
    20: {10: 0.257, 20: 0.511, 50: 1.272, 100: 2.539},
    30: {10: 0.178, 20: 0.353, 50: 0.877, 100: 1.750},
    40: {10: 0.130, 20: 0.255, 50: 0.632, 100: 1.261},
    100: {10: 0.053, 20: 0.102},
    200: {10: 0.025, 20: 0.046},
}
ENTRIES = [(rate, ipc, size) for rate, row in PUBLISHED.items() for ipc, size in row.items()]


def counted(config: CodecConfig, ipc: int) -> float:
    """GiB of the labels of ``ipc`` images of each class, as the paper counts."""
    kind = CODECS[config.name]
    kind.check(config, CLASSES)
    return kind.published_bytes(config, CLASSES, ipc * CLASSES * EPOCHS) / GIB


def test_all_entries_are_there():
    assert len(ENTRIES) == 20


@pytest.mark.parametrize(("rate", "ipc", "size"), ENTRIES)
def test_the_storage_of_vqae_is_that_of_table_s7(rate, ipc, size):
    width, segment, levels = SETTINGS[rate]
    found = counted(CodecConfig("vqae", width, segment, levels), ipc)
    assert found == pytest.approx(size, abs=0.0015)


@pytest.mark.parametrize(("ipc", "size"), [(10, 5.588), (20, 11.176), (50, 27.940), (100, 55.879)])
def test_uncompressed_labels_are_those_of_table_s6(ipc, size):
    assert counted(CodecConfig("float16"), ipc) == pytest.approx(size, abs=0.0005)


def test_the_rivals_have_the_rates_of_table_3():
    whole = counted(CodecConfig("float16"), 10)
    rates = {
        "2 bits": whole / counted(CodecConfig("scalar", levels=4), 10),
        "3 bits": whole / counted(CodecConfig("scalar", levels=8), 10),
        "24 components": whole / counted(CodecConfig("pca", width=24, levels=2), 10),
        "15 largest": whole / counted(CodecConfig("top", width=15, levels=2), 10),
    }
    assert rates["2 bits"] == pytest.approx(7.98, abs=0.03)
    assert rates["3 bits"] == pytest.approx(5.36, abs=0.03)
    assert rates["24 components"] == pytest.approx(41.6, abs=0.1)
    assert rates["15 largest"] == pytest.approx(41.1, abs=0.2)
