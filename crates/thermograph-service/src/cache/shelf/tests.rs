use http::HeaderMap;
use thermograph_common::Hooks;
use thermograph_engine::TokenCount;
use tokio::sync::oneshot;

use super::*;
use crate::cache::{KeyBuilder, Vector};

#[tokio::test]
async fn a_refused_question_does_not_refuse_those_who_wait_for_a_part() {
    let (cpu, threads) = CpuPool::start(1, 0, Hooks::default()).expect("started");
    let shelf: Shelf<Vector> = Shelf::new(1 << 20, &Config::default(), None, cpu.clone());
    let wish = Wish::of(&HeaderMap::new()).expect("allowed");
    let [good, bad] =
        [b"good".as_slice(), b"bad"].map(|part| KeyBuilder::new("t").part(part).finish());
    let (refuse, refused) = oneshot::channel();
    let refused = std::cell::Cell::new(Some(refused));

    let both = [good, bad];
    let leader = shelf.many(&both, &wish, |places| {
        assert_eq!(places, [0, 1]);
        let refused = refused.take().expect("asked once");
        async { Err(ApiError::into(refused.await.expect("refused"))) }
    });
    let one = [good];
    let follower = shelf.many(&one, &wish, |_| async {
        Ok(vec![Vector::new([1.0].into(), TokenCount { read: 3, truncated: false }, &"m".into())])
    });
    let error = ApiError::bad_request(Some("input"), "input 1: no good");
    let refuse = async {
        // Both have been polled: the second waits for the first.
        refuse.send(error).expect("waited for");
    };
    let answers = tokio::join!(biased; leader, follower, refuse);
    assert!(answers.0.is_err());
    assert_eq!(answers.1.map(|(vectors, _)| vectors.len()).ok(), Some(1));
    cpu.stop();
    for thread in threads {
        thread.join().expect("ended");
    }
}
