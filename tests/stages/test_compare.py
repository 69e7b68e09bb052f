from latentlab.params.yaml_io import read_yaml


def test_values_that_are_invalid_with_the_search_result_are_rejected(bench, message):
    space = dict(read_yaml(bench.project.params)["search"]["space"])
    space["train.model.batch_norm"] = {"type": "categorical", "choices": [True, False]}
    bench.edit({"search.space": space, "train.model.batch_norm": "search"})
    best_params = bench.project.outputs("search") / "best_params.yaml"
    best_params.write_text(best_params.read_text() + "train.model.batch_norm: true\n")
    sizes = {"parameter": "train.batch_size", "values": [1, 64], "epochs": 1}
    bench.edit({"compare": {"sizes": sizes}})

    answer = bench.run("compare", "sizes")

    assert answer.code == 2
    message("stages/compare value invalid with search result", answer.err)
