def test_walks_between_classes_that_there_are_not_are_refused_before_anything_is_trained(
    bench, repository
):
    bench.edit({"evaluate.walks": [["0", "nine"]]})
    (bench.project.root / "data").symlink_to(repository / "data")

    answer = bench.run("fetch")

    assert answer.code == 2
    assert "evaluate.walks names nine, but the classes of digits are 0, 1, 2" in answer.err
    assert "write names of these, or auto" in answer.err
