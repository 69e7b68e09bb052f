from latentlab.params.yaml_io import read_yaml


def test_values_that_do_not_go_with_what_the_search_found_are_a_mistake(bench):
    space = dict(read_yaml(bench.project.params)["search"]["space"])
    space["train.model.batch_norm"] = {"type": "categorical", "choices": [True, False]}
    bench.edit({"search.space": space, "train.model.batch_norm": "search"})
    found = bench.project.outputs("search") / "best_params.yaml"
    found.write_text(found.read_text() + "train.model.batch_norm: true\n")
    sizes = {"parameter": "train.batch_size", "values": [1, 64], "epochs": 1}
    bench.edit({"compare": {"sizes": sizes}})

    answer = bench.run("compare", "sizes")

    assert answer.code == 2
    assert "compare@sizes, 1: train.model.batch_norm needs a batch_size of at least 2" in answer.err
