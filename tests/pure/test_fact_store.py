@pytest.mark.parametrize(
    "meanwhile",
    [
        [Delete(Pod("shop", "a").ref)],
        [Apply(Pod("shop", "a", resource_version="2")), InitApply(Pod("shop", "a", resource_version="2"))],
    ],
)
def test_list_that_lacks_as_many_as_went_meanwhile_is_not_what_is_held(meanwhile: list[SourceEvent]) -> None:
    store = FactStore()
    a, b = (Pod("shop", name, resource_version="1") for name in "ab")
    for event in (Apply(a), Apply(b), Init(Kind.POD), InitApply(a), *meanwhile, InitDone(Kind.POD)):
        list(store.apply(event))
    assert b.ref not in store.held(Kind.POD)
