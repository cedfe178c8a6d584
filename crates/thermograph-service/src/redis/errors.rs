//! Errors after which a connection is of no more use.

use redis::RedisError;

/// Codes of a server that cannot serve: it is a replica, has no primary, still reads its data, knows
/// no longer who the client is, lacks its cluster, or cannot write.
const OF_SERVER: [&str; 9] = [
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "READONLY",
    "WRONGPASS",
];

/// Cause of a request that was not answered.
pub(super) const LATE: &str = "no answer in time";

/// An error without what was sent, which may be a password.
pub(super) fn told(error: &RedisError) -> String {
    match error.code() {
        Some(code) => code.to_owned(),
        // An error of the system, such as a connection that is refused.
        None if error.is_io_error() => error.to_string(),
        None => format!("{:?}", error.kind()),
    }
}

/// Returns whether the error is the server's and not the command's: another server, or a new
/// connection, may do better.
pub(super) fn is_of_server(error: &RedisError) -> bool {
    let errors = error.clone().into_server_errors();
    errors.iter().flat_map(|errors| errors.iter()).any(|(_, error)| {
        let is_code = |code: &str| OF_SERVER.contains(&code);
        // Redis 6 reports an error of a script as `ERR`, with the command's own error in its text.
        let mut words = error.details().unwrap_or_default().split(' ');
        is_code(error.code()) || words.any(|word| word.strip_prefix('-').is_some_and(is_code))
    })
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    #[test]
    fn error_of_the_server_is_told_from_one_of_the_command() {
        for (line, is_server) in [
            ("-READONLY You can't write against a read only replica.", true),
            ("-LOADING Redis is loading the dataset in memory", true),
            ("-MASTERDOWN Link with MASTER is down", true),
            ("-NOAUTH Authentication required.", true),
            ("-CLUSTERDOWN Hash slot not served", true),
            ("-ERR Error running script: @user_script:1: -READONLY You can't write", true),
            ("-WRONGTYPE Operation against a key holding the wrong kind of value", false),
            ("-ERR unknown command 'READONLY'", false),
        ] {
            let value = parse_redis_value(format!("{line}\r\n").as_bytes()).expect("a value");
            let error = value.extract_error().expect_err("an error");
            assert_eq!(is_of_server(&error), is_server, "{line}");
        }
    }
}
