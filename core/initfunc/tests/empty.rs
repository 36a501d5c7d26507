//! A program without any init function links and runs.

#[test]
fn nothing_registered_is_nothing_called() {
    assert_eq!(initfunc::registered().count(), 0);
    for phase in initfunc::Phase::ALL {
        initfunc::call(phase).unwrap();
    }
}
