//! What the gateway shows of itself, and the example's configuration.

use std::{path::Path, thread};

use crate::{
    gateway::support::{CHAT, Load, Mock, gateway, stream, whole},
    support::{get, post, thermograph},
};

#[test]
fn spans_say_where_a_request_was() {
    let mock = Mock::start(&["--latency=2ms", "--interval=1ms"]);
    let server = gateway(&[&mock], "");
    let load = Load::start(&server, 4);
    let folded = thread::scope(|scope| {
        let url = server.diagnostics("/debug/spans?seconds=2&format=folded");
        let captured = scope.spawn(move || get(&url).text);
        let mut large = whole();
        // More than the buffers of a socket grow to, so that sending it takes more than one poll.
        large["images"] = "x".repeat(7 << 20).into();
        while !captured.is_finished() {
            assert_eq!(post(&server.api(CHAT), &large.to_string()).status, 200);
        }
        captured.join().expect("an answer")
    });
    load.stop();
    for span in ["connect", "send", "first_byte", "stream"] {
        assert!(folded.contains(&format!("upstream.{span}")), "{span}: {folded}");
    }
    assert!(folded.contains("POST /v1/chat/completions"), "{folded}");
}

#[test]
fn what_was_passed_on_is_counted_by_the_names_of_the_conventions() {
    let mock = Mock::start(&["--interval=1ms"]);
    let server = gateway(&[&mock], "");
    let answered = post(&server.api(CHAT), &whole().to_string());
    let usage = &answered.json()["usage"];
    // Those of the stream are as many, which its client has not asked for.
    let [input, output] =
        ["prompt_tokens", "completion_tokens"].map(|of| 2 * usage[of].as_u64().expect("a number"));
    let overhead: u64 = answered.header("x-thermograph-overhead-us").parse().expect("a number");
    assert!(overhead > 0 && answered.header("x-thermograph-upstream") == "a");
    let streamed = post(&server.api(CHAT), &stream().to_string());
    assert_eq!(streamed.header("content-type"), "text/event-stream");
    assert_eq!(streamed.header("x-accel-buffering"), "no");

    let metrics = get(&server.diagnostics("/metrics")).text;
    let labels = r#"gen_ai_operation_name="chat",gen_ai_request_model="mock""#;
    let own = r#"operation="chat",model="mock""#;
    let lines = [
        format!("gen_ai_server_request_duration_seconds_count{{{labels}}} 2"),
        format!("gen_ai_server_time_to_first_token_seconds_count{{{labels}}} 1"),
        format!("gen_ai_server_time_per_output_token_seconds_count{{{labels}}} 1"),
        format!(r#"gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type="input"}} {input}"#),
        format!(r#"gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type="output"}} {output}"#),
        format!("thermograph_gateway_overhead_seconds_count{{{own}}} 2"),
        r#"thermograph_upstream_requests_total{upstream="a",outcome="answered"} 2"#.to_owned(),
        r#"thermograph_upstream_connections_opened_total{upstream="a"} 1"#.to_owned(),
        r#"thermograph_upstream_connections_reused_total{upstream="a"} 1"#.to_owned(),
        r#"thermograph_upstream_breaker{upstream="a"} 0"#.to_owned(),
        r#"thermograph_upstream_healthy{upstream="a"} 1"#.to_owned(),
        r#"thermograph_upstream_in_flight{upstream="a"} 0"#.to_owned(),
        "thermograph_gateway_in_flight 0".to_owned(),
    ];
    for line in lines {
        assert!(metrics.lines().any(|shown| shown == line), "{line}: {metrics}");
    }
}

#[test]
fn the_example_s_configuration_is_valid() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/gateway.toml");
    let checked = thermograph().args(["serve", "--check", "--config"]).arg(example).output();
    let checked = checked.expect("it ran");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
