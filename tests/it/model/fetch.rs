//! One file over HTTP: fetched, resumed, checked.

use std::{fs, path::PathBuf};

use tempfile::TempDir;
use thermograph_server::model::{Token, fetch};

use super::hub::{Answer, Hub};

const CONTENT: &[u8] = b"The quick brown fox jumps over the lazy dog";
const SHA256: &str = "d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592";

/// A hub, and a folder to fetch one file into.
struct Fixture {
    hub: Hub,
    folder: TempDir,
}

impl Fixture {
    fn new(answer: Answer) -> anyhow::Result<Self> {
        let hub = Hub::start()?;
        hub.on("/file", answer);
        Ok(Self { hub, folder: tempfile::tempdir()? })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    fn part(&self) -> PathBuf {
        self.folder.path().join("file.part")
    }

    fn fetch(&self) -> anyhow::Result<()> {
        fetch(&self.hub.url("/file"), &self.path(), SHA256, None)
    }

    /// The file is complete, and what it was made from is gone.
    fn assert_fetched(&self) -> anyhow::Result<()> {
        assert_eq!(fs::read(self.path())?, CONTENT);
        assert!(!self.part().exists());
        Ok(())
    }

    fn ranges(&self) -> Vec<Option<String>> {
        self.hub.requests().into_iter().map(|request| request.range).collect()
    }
}

#[test]
fn a_file_is_fetched_once() -> anyhow::Result<()> {
    let fixture = Fixture::new(Answer::File(CONTENT.into()))?;
    fixture.fetch()?;
    fixture.assert_fetched()?;
    fixture.fetch()?;
    assert_eq!(fixture.ranges(), [None], "the second time nothing is asked for");
    Ok(())
}

#[test]
fn a_cut_connection_is_resumed_by_the_next_fetch() -> anyhow::Result<()> {
    let fixture = Fixture::new(Answer::Cut(CONTENT.into(), 20))?;
    let error = format!("{:#}", fixture.fetch().expect_err("the connection was cut"));
    assert!(error.contains("the connection was cut; run it again"), "{error}");
    assert_eq!(fs::read(fixture.part())?, &CONTENT[..20]);

    fixture.hub.on("/file", Answer::File(CONTENT.into()));
    fixture.fetch()?;
    fixture.assert_fetched()?;
    assert_eq!(fixture.ranges(), [None, Some("bytes=20-".to_owned())]);
    Ok(())
}

#[test]
fn without_ranges_it_starts_over() -> anyhow::Result<()> {
    let fixture = Fixture::new(Answer::NoRanges(CONTENT.into()))?;
    fs::write(fixture.part(), &CONTENT[..20])?;
    fixture.fetch()?;
    fixture.assert_fetched()
}

#[test]
fn a_part_that_is_complete_is_only_checked() -> anyhow::Result<()> {
    let fixture = Fixture::new(Answer::File(CONTENT.into()))?;
    fs::write(fixture.part(), CONTENT)?;
    fixture.fetch()?;
    fixture.assert_fetched()?;
    assert_eq!(fixture.ranges(), [Some("bytes=43-".to_owned())]);
    Ok(())
}

#[test]
fn a_part_of_another_file_is_given_up() -> anyhow::Result<()> {
    for other in [&[b'x'; 20][..], &[b'x'; 200]] {
        let fixture = Fixture::new(Answer::File(CONTENT.into()))?;
        fs::write(fixture.part(), other)?;
        fixture.fetch()?;
        fixture.assert_fetched()?;
        assert_eq!(fixture.ranges().last(), Some(&None), "the last one asks for everything");
    }
    Ok(())
}

#[test]
fn another_sum_is_an_error_and_leaves_nothing() -> anyhow::Result<()> {
    let fixture = Fixture::new(Answer::File(b"not the fox".into()))?;
    let error = format!("{:#}", fixture.fetch().expect_err("another file"));
    let found = "e6481600bcab0cfe4ded71297a59c6bf59dd77e6a695936bfed593cb2fa55c8d";
    for part in ["/file", SHA256, found] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(fs::read_dir(&fixture.folder)?.count(), 0);
    Ok(())
}

#[test]
fn the_token_stays_with_the_hub_but_the_range_is_passed_on() -> anyhow::Result<()> {
    let cdn = Hub::start()?;
    cdn.on("/content", Answer::File(CONTENT.into()));
    let fixture = Fixture::new(Answer::Redirect(cdn.url("/content")))?;
    fs::write(fixture.part(), &CONTENT[..20])?;
    let token = Token::from("secret".to_owned());
    fetch(&fixture.hub.url("/file"), &fixture.path(), SHA256, Some(&token))?;
    fixture.assert_fetched()?;
    let [asked] = &fixture.hub.requests()[..] else { panic!("one request to the hub") };
    assert_eq!(asked.authorization.as_deref(), Some("Bearer secret"));
    let [passed] = &cdn.requests()[..] else { panic!("one request to the other server") };
    assert_eq!(passed.authorization, None);
    assert_eq!(passed.range.as_deref(), Some("bytes=20-"));
    Ok(())
}
