"""The data sets, one file each. A new file with a `DATA_SET` in it is all that a new one needs."""

import importlib
import pkgutil

from common.data.data_set import DataSet, PublishedSplit

DATA_SETS: dict[str, DataSet] = {
    data_set.name: data_set
    for module in sorted(module.name for module in pkgutil.iter_modules(__path__))
    for data_set in [importlib.import_module(f"{__name__}.{module}").DATA_SET]
}
PUBLISHED_SPLITS: dict[str, PublishedSplit] = {
    split.name: split for data_set in DATA_SETS.values() for split in data_set.splits
}
