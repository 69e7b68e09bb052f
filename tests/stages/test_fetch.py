from crafting import write_pictures


def test_walks_between_classes_that_there_are_not_are_refused_before_anything_is_trained(bench):
    for name in ("circles", "squares"):
        write_pictures(bench.project.data / "shapes" / name, 20)
    bench.edit({"data.name": "shapes", "evaluate.walks": [["circles", "nine"]]})

    answer = bench.run("fetch")

    assert answer.code == 2
    assert "evaluate.walks names nine, but the classes of shapes are circles, squares" in answer.err
    assert "write names of these, or auto" in answer.err
