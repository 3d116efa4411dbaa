"""What a report says of where its run comes from."""

import tomli_w

from farandole.config.load import load_config
from farandole.report.provenance import MAX_SETTING_CHARACTERS, Setting, changed_settings


def resolved(*overrides: str) -> str:
    return tomli_w.dumps(load_config(None, overrides).model_dump(exclude_none=True))


def test_only_what_is_not_the_default_is_told_wherever_the_run_lies() -> None:
    assert changed_settings(resolved("paths.work=/elsewhere")) == []
    assert changed_settings(resolved("train.epochs=3", "model.arguments={filters=[8]}", "image.height=16")) == [
        Setting("image.height", "16", "8"),
        Setting("model.arguments", '{"filters": [8]}', "{}"),
        Setting("train.epochs", "3", "10"),
    ]


def test_keys_of_another_version_and_long_values_are_shown_and_what_is_no_config_is_not() -> None:
    assert changed_settings("[train]\nbatch = 3\n[old]\nkey = true\n") == [
        Setting("train.batch", "3", ""),
        Setting("old.key", "true", ""),
    ]
    [setting] = changed_settings(resolved("data.keep_columns=[]", f"model.arguments={{name={'x' * 5000!r}}}"))
    assert len(setting.value) == MAX_SETTING_CHARACTERS + 1
    assert changed_settings("<no toml>") == []
