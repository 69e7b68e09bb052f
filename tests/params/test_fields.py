from latentlab.params.fields import flatten


def test_paths_are_joined_by_dots_or_as_told():
    tree = {"a": {"b": 1, "c": {"d": [2]}}, "e": {}}

    assert flatten(tree) == {"a.b": 1, "a.c.d": [2]}
    assert flatten(tree, "stage/", "/") == {"stage/a/b": 1, "stage/a/c/d": [2]}


def test_the_space_of_a_search_stays_whole():
    space = {"train.learning_rate": {"type": "float", "low": 0.1, "high": 1.0}}

    assert flatten({"search": {"space": space}}) == {"search.space": space}
    assert flatten({"finetune": {"search": {"space": space}}}) == {"finetune.search.space": space}


def test_what_else_is_called_space_is_like_anything():
    assert flatten({"denoise": {"space": {"epochs": 3}}}) == {"denoise.space.epochs": 3}
    assert flatten({"space": {"recall": 0.5}}, separator="/") == {"space/recall": 0.5}
