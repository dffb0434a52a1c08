"""Where models come from, and the proof at load time that what runs is what the files say."""

from workbench.models.model import Model as Model
from workbench.models.packaged import names as names
from workbench.models.sources import TRAINED_FROM as TRAINED_FROM
from workbench.models.sources import cached_commit as cached_commit
from workbench.models.sources import check_name as check_name
from workbench.models.sources import files_of as files_of
from workbench.models.sources import load_model as load_model
from workbench.models.sources import paths_in as paths_in
from workbench.models.sources import split_adapter as split_adapter
from workbench.models.sources import wrap_model as wrap_model
