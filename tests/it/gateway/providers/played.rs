//! Answers of providers, in the forms in which they give them.

/// A provider: the paths at which it is asked, and its answers.
pub(super) struct Played {
    /// Its section in the page.
    pub(super) title: &'static str,
    /// Endpoint of this server.
    pub(super) endpoint: &'static str,
    /// Path at the provider, with its query.
    pub(super) path: &'static str,
    pub(super) model: &'static str,
    /// The model in metrics: its name, or the pattern that it fits.
    pub(super) route: &'static str,
    /// Header with the provider's key.
    pub(super) key: (&'static str, &'static str),
    /// Path and content of its list of models; empty if it is not asked for one.
    pub(super) models_path: &'static str,
    pub(super) models: &'static str,
    pub(super) listed: &'static [&'static str],
    pub(super) whole: &'static str,
    pub(super) stream: &'static str,
    /// The stream as a client has it that has not asked for the usage, if that is not the same.
    passed: Option<&'static str>,
    pub(super) error_status: u16,
    pub(super) error: &'static str,
}

impl Played {
    /// The stream as a client has it.
    pub(super) fn passed(&self) -> &'static str {
        self.passed.unwrap_or(self.stream)
    }
}

/// A chunk of a chat: its choices, and what stands behind them.
macro_rules! chunk {
    ($model:literal, $choices:literal $(, $more:literal)?) => {
        concat!(
            "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1764000000,\"model\":\"",
            $model, "\",\"choices\":[", $choices, "]", $($more,)? "}\n\n",
        )
    };
}

/// The chunks of a message, in the form of most providers.
macro_rules! hello {
    ($model:literal $(, $more:literal)?) => {
        concat!(
            chunk!($model, "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}" $(, $more)?),
            chunk!($model, "{\"index\":0,\"delta\":{\"content\":\"Hello\"},\"finish_reason\":null}" $(, $more)?),
            chunk!($model, "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}" $(, $more)?),
        )
    };
}

/// The chunk with the usage.
macro_rules! usage {
    ($model:literal) => {
        chunk!(
            $model,
            "",
            ",\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}"
        )
    };
}

/// The chunks of a message in Groq's form.
macro_rules! groq {
    () => {
        concat!(
            chunk!(
                "llama-3.3-70b-versatile",
                "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}",
                ",\"x_groq\":{\"id\":\"req_1\"}"
            ),
            chunk!(
                "llama-3.3-70b-versatile",
                "{\"index\":0,\"delta\":{\"content\":\"Hello\"},\"finish_reason\":null}"
            ),
            chunk!(
                "llama-3.3-70b-versatile",
                "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}",
                ",\"x_groq\":{\"id\":\"req_1\",\"usage\":{\"queue_time\":0.01,\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}}"
            ),
        )
    };
}

/// The end of a stream.
macro_rules! done {
    () => {
        "data: [DONE]\n\n"
    };
}

const AZURE: Played = Played {
    title: "Azure OpenAI",
    endpoint: "/v1/chat/completions",
    path: "/openai/v1/chat/completions",
    model: "gpt-4.1",
    route: "gpt-4.1",
    key: ("api-key", "provider-key"),
    models_path: "",
    models: "",
    listed: &[],
    whole: r#"{"id":"chatcmpl-2","object":"chat.completion","created":1764000000,"model":"gpt-4.1-2025-04-14","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"prompt_filter_results":[{"prompt_index":0,"content_filter_results":{}}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#,
    stream: concat!(
        "data: {\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\",\"prompt_filter_results\":[{\"prompt_index\":0,\"content_filter_results\":{\"hate\":{\"filtered\":false,\"severity\":\"safe\"}}}],\"usage\":null}\n\n",
        hello!("gpt-4.1-2025-04-14", ",\"usage\":null"),
        usage!("gpt-4.1-2025-04-14"),
        done!(),
    ),
    passed: Some(concat!(
        "data: {\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\",\"prompt_filter_results\":[{\"prompt_index\":0,\"content_filter_results\":{\"hate\":{\"filtered\":false,\"severity\":\"safe\"}}}]}\n\n",
        hello!("gpt-4.1-2025-04-14"),
        done!(),
    )),
    error_status: 400,
    error: r#"{"error":{"message":"The response was filtered due to the prompt triggering content management policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
};

pub(super) const PLAYED: &[Played] = &[
    Played {
        title: "OpenAI",
        endpoint: "/v1/chat/completions",
        path: "/v1/chat/completions",
        model: "gpt-4.1",
        route: "gpt-4.1",
        key: ("authorization", "Bearer provider-key"),
        models_path: "/v1/models",
        models: r#"{"object":"list","data":[{"id":"gpt-4.1","object":"model","created":1744316542,"owned_by":"system"}]}"#,
        listed: &["gpt-4.1"],
        whole: r#"{"id":"chatcmpl-1","object":"chat.completion","created":1764000000,"model":"gpt-4.1-2025-04-14","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"service_tier":"default","system_fingerprint":"fp_1","usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}"#,
        stream: concat!(
            hello!("gpt-4.1-2025-04-14", ",\"usage\":null"),
            usage!("gpt-4.1-2025-04-14"),
            done!(),
        ),
        passed: Some(concat!(hello!("gpt-4.1-2025-04-14"), done!(),)),
        error_status: 400,
        error: r#"{"error":{"message":"Invalid value for 'messages'.","type":"invalid_request_error","param":"messages","code":"invalid_value"}}"#,
    },
    AZURE,
    Played {
        title: "Azure OpenAI by deployment",
        path: "/openai/deployments/DEPLOYMENT/chat/completions?api-version=2024-10-21",
        ..AZURE
    },
    Played {
        title: "Gemini",
        endpoint: "/v1/chat/completions",
        path: "/v1beta/openai/chat/completions",
        model: "gemini-2.5-flash",
        route: "gemini-*",
        key: ("authorization", "Bearer provider-key"),
        models_path: "/v1beta/openai/models",
        models: r#"{"object":"list","data":[{"id":"models/gemini-2.5-flash","object":"model","owned_by":"google","display_name":"Gemini 2.5 Flash"}]}"#,
        listed: &["models/gemini-2.5-flash"],
        whole: r#"{"id":"g1","object":"chat.completion","created":1764000000,"model":"gemini-2.5-flash","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#,
        stream: concat!(hello!("gemini-2.5-flash"), usage!("gemini-2.5-flash"), done!(),),
        passed: Some(concat!(hello!("gemini-2.5-flash"), done!(),)),
        error_status: 400,
        error: r#"[{"error":{"code":400,"message":"Invalid value at messages","status":"INVALID_ARGUMENT"}}]"#,
    },
    Played {
        title: "Mistral",
        endpoint: "/v1/chat/completions",
        path: "/v1/chat/completions",
        model: "mistral-small-latest",
        route: "mistral-small-latest",
        key: ("authorization", "Bearer provider-key"),
        models_path: "/v1/models",
        models: r#"{"object":"list","data":[{"id":"mistral-small-latest","object":"model","created":1764000000,"owned_by":"mistralai","capabilities":{"completion_chat":true},"max_context_length":131072,"aliases":[],"deprecation":null}]}"#,
        listed: &["mistral-small-latest"],
        whole: r#"{"id":"m1","object":"chat.completion","created":1764000000,"model":"mistral-small-latest","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#,
        stream: concat!(
            chunk!(
                "mistral-small-latest",
                "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}"
            ),
            chunk!(
                "mistral-small-latest",
                "{\"index\":0,\"delta\":{\"content\":\"Hello\"},\"finish_reason\":null}"
            ),
            chunk!(
                "mistral-small-latest",
                "{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\"}",
                ",\"usage\":{\"prompt_tokens\":9,\"total_tokens\":11,\"completion_tokens\":2}"
            ),
            done!(),
        ),
        passed: None,
        error_status: 422,
        error: r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","nonsense"],"msg":"Extra inputs are not permitted","input":1}]},"type":"invalid_request_error","param":null,"code":null,"raw_status_code":422}"#,
    },
    Played {
        title: "Groq",
        endpoint: "/v1/chat/completions",
        path: "/openai/v1/chat/completions",
        model: "llama-3.3-70b-versatile",
        route: "llama-3.3-70b-versatile",
        key: ("authorization", "Bearer provider-key"),
        models_path: "/openai/v1/models",
        models: r#"{"object":"list","data":[{"id":"llama-3.3-70b-versatile","object":"model","created":1733447754,"owned_by":"Meta","active":true,"context_window":131072,"public_apps":null}]}"#,
        listed: &["llama-3.3-70b-versatile"],
        whole: r#"{"id":"chatcmpl-3","object":"chat.completion","created":1764000000,"model":"llama-3.3-70b-versatile","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"queue_time":0.01,"prompt_tokens":9,"prompt_time":0.001,"completion_tokens":2,"completion_time":0.004,"total_tokens":11,"total_time":0.005},"x_groq":{"id":"req_1"}}"#,
        stream: concat!(groq!(), usage!("llama-3.3-70b-versatile"), done!(),),
        passed: Some(concat!(groq!(), done!(),)),
        error_status: 400,
        error: r#"{"error":{"message":"'messages' : minimum number of items is 1","type":"invalid_request_error"}}"#,
    },
    Played {
        title: "OpenRouter",
        endpoint: "/v1/chat/completions",
        path: "/api/v1/chat/completions",
        model: "openai/gpt-4.1-mini",
        route: "openai/gpt-4.1-mini",
        key: ("authorization", "Bearer provider-key"),
        models_path: "/api/v1/models",
        models: r#"{"data":[{"id":"openai/gpt-4.1-mini","name":"GPT-4.1 Mini","created":1744651381,"context_length":1047576,"pricing":{"prompt":"0.0000004"}}]}"#,
        listed: &["openai/gpt-4.1-mini"],
        whole: r#"{"id":"gen-1","object":"chat.completion","created":1764000000,"model":"openai/gpt-4.1-mini","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"provider":"OpenAI","usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#,
        stream: concat!(
            ": OPENROUTER PROCESSING\n\n",
            ": OPENROUTER PROCESSING\n\n",
            hello!("openai/gpt-4.1-mini"),
            usage!("openai/gpt-4.1-mini"),
            done!(),
        ),
        passed: Some(concat!(
            ": OPENROUTER PROCESSING\n\n",
            ": OPENROUTER PROCESSING\n\n",
            hello!("openai/gpt-4.1-mini"),
            done!(),
        )),
        error_status: 400,
        error: r#"{"error":{"message":"nonsense is not a valid model ID","code":400},"user_id":"user_1"}"#,
    },
    Played {
        title: "Together",
        endpoint: "/v1/chat/completions",
        path: "/v1/chat/completions",
        model: "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        route: "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        key: ("authorization", "Bearer provider-key"),
        models_path: "/v1/models",
        models: r#"[{"id":"meta-llama/Llama-3.3-70B-Instruct-Turbo","object":"model","created":1733466629,"type":"chat","running":false,"display_name":"Llama 3.3","organization":"Meta","link":"","context_length":131072}]"#,
        listed: &["meta-llama/Llama-3.3-70B-Instruct-Turbo"],
        whole: r#"{"id":"o1","object":"chat.completion","created":1764000000,"model":"meta-llama/Llama-3.3-70B-Instruct-Turbo","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"prompt":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#,
        stream: concat!(
            hello!("meta-llama/Llama-3.3-70B-Instruct-Turbo", ",\"usage\":null"),
            usage!("meta-llama/Llama-3.3-70B-Instruct-Turbo"),
            done!(),
        ),
        passed: Some(concat!(hello!("meta-llama/Llama-3.3-70B-Instruct-Turbo"), done!(),)),
        error_status: 400,
        error: r#"{"id":"o2","error":{"message":"Input validation error","type":"invalid_request_error","param":null,"code":null}}"#,
    },
    Played {
        title: "Anthropic",
        endpoint: "/v1/messages",
        path: "/v1/messages",
        model: "claude-sonnet-4-5",
        route: "claude-sonnet-4-5",
        key: ("x-api-key", "provider-key"),
        models_path: "/v1/models",
        models: r#"{"data":[{"type":"model","id":"claude-sonnet-4-5","display_name":"Claude Sonnet 4.5","created_at":"2025-09-29T00:00:00Z"}],"has_more":false,"first_id":"claude-sonnet-4-5","last_id":"claude-sonnet-4-5"}"#,
        listed: &["claude-sonnet-4-5"],
        whole: r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"cache_read_input_tokens":0,"output_tokens":2}}"#,
        stream: concat!(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n",
            "event: ping\ndata: {\"type\":\"ping\"}\n\n",
            "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n",
            "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n",
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ),
        passed: None,
        error_status: 400,
        error: r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages: at least one message is required"},"request_id":"req_1"}"#,
    },
    Played {
        title: "Cohere",
        endpoint: "/v1/rerank",
        path: "/v2/rerank",
        model: "rerank-v3.5",
        route: "rerank-*",
        key: ("authorization", "Bearer provider-key"),
        models_path: "",
        models: "",
        listed: &[],
        whole: r#"{"id":"r1","results":[{"index":1,"relevance_score":0.9}],"meta":{"api_version":{"version":"2"},"billed_units":{"search_units":1}}}"#,
        stream: "",
        passed: None,
        error_status: 400,
        error: r#"{"message":"invalid request: query must not be empty"}"#,
    },
    Played {
        title: "Zhipu",
        endpoint: "/v1/chat/completions",
        path: "/api/paas/v4/chat/completions",
        model: "glm-4.6",
        route: "glm-*",
        key: ("authorization", "Bearer provider-key"),
        models_path: "",
        models: "",
        listed: &[],
        whole: r#"{"id":"z1","object":"chat.completion","created":1764000000,"model":"glm-4.6","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"request_id":"z1","usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#,
        stream: concat!(hello!("glm-4.6"), usage!("glm-4.6"), done!(),),
        passed: Some(concat!(hello!("glm-4.6"), done!(),)),
        error_status: 400,
        error: r#"{"error":{"code":"1214","message":"messages is required"}}"#,
    },
    Played {
        title: "GitHub Models",
        endpoint: "/v1/chat/completions",
        path: "/inference/chat/completions",
        model: "openai/gpt-4.1",
        route: "openai/*",
        key: ("authorization", "Bearer provider-key"),
        models_path: "",
        models: "",
        listed: &[],
        whole: r#"{"id":"gh1","object":"chat.completion","created":1764000000,"model":"gpt-4.1-2025-04-14","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#,
        stream: concat!(
            hello!("gpt-4.1-2025-04-14", ",\"usage\":null"),
            usage!("gpt-4.1-2025-04-14"),
            done!(),
        ),
        passed: Some(concat!(hello!("gpt-4.1-2025-04-14"), done!(),)),
        error_status: 400,
        error: r#"{"error":{"code":"unsupported","message":"Unsupported parameter","details":"Unsupported parameter"}}"#,
    },
    Played {
        title: "vLLM",
        endpoint: "/v1/chat/completions",
        path: "/v1/chat/completions",
        model: "Qwen/Qwen3-8B",
        route: "Qwen/Qwen3-8B",
        key: ("authorization", ""),
        models_path: "/v1/models",
        models: r#"{"object":"list","data":[{"id":"Qwen/Qwen3-8B","object":"model","created":1764000000,"owned_by":"vllm","root":"Qwen/Qwen3-8B","parent":null,"max_model_len":40960,"permission":[{"id":"modelperm-1","object":"model_permission"}]}]}"#,
        listed: &["Qwen/Qwen3-8B"],
        whole: r#"{"id":"chatcmpl-4","object":"chat.completion","created":1764000000,"model":"Qwen/Qwen3-8B","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"kv_transfer_params":null,"prompt_logprobs":null,"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#,
        stream: concat!(hello!("Qwen/Qwen3-8B"), usage!("Qwen/Qwen3-8B"), done!(),),
        passed: Some(concat!(hello!("Qwen/Qwen3-8B"), done!(),)),
        error_status: 400,
        error: r#"{"object":"error","message":"The model expects a message.","type":"BadRequestError","param":null,"code":400}"#,
    },
    Played {
        title: "SGLang",
        endpoint: "/v1/chat/completions",
        path: "/v1/chat/completions",
        model: "Qwen/Qwen3-8B",
        route: "Qwen/Qwen3-8B",
        key: ("authorization", ""),
        models_path: "/v1/models",
        models: r#"{"object":"list","data":[{"id":"Qwen/Qwen3-8B","object":"model","created":1764000000,"owned_by":"sglang","root":"Qwen/Qwen3-8B","max_model_len":40960}]}"#,
        listed: &["Qwen/Qwen3-8B"],
        whole: r#"{"id":"s1","object":"chat.completion","created":1764000000,"model":"Qwen/Qwen3-8B","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"metadata":{"weight_version":"default"},"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#,
        stream: concat!(
            chunk!(
                "Qwen/Qwen3-8B",
                "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}"
            ),
            chunk!(
                "Qwen/Qwen3-8B",
                "{\"index\":0,\"delta\":{\"content\":\"Hello\"},\"logprobs\":null,\"finish_reason\":null}"
            ),
            chunk!("Qwen/Qwen3-8B", "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}"),
            usage!("Qwen/Qwen3-8B"),
            done!(),
        ),
        passed: Some(concat!(
            chunk!(
                "Qwen/Qwen3-8B",
                "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}"
            ),
            chunk!(
                "Qwen/Qwen3-8B",
                "{\"index\":0,\"delta\":{\"content\":\"Hello\"},\"logprobs\":null,\"finish_reason\":null}"
            ),
            chunk!("Qwen/Qwen3-8B", "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}"),
            done!(),
        )),
        error_status: 400,
        error: r#"{"object":"error","message":"Empty messages","type":"BadRequest","param":null,"code":400}"#,
    },
    Played {
        title: "llama.cpp",
        endpoint: "/v1/chat/completions",
        path: "/v1/chat/completions",
        model: "ggml-org/gemma-3-4b-it-GGUF",
        route: "ggml-org/gemma-3-4b-it-GGUF",
        key: ("authorization", ""),
        models_path: "/v1/models",
        models: r#"{"models":[{"name":"ggml-org/gemma-3-4b-it-GGUF","model":"ggml-org/gemma-3-4b-it-GGUF","type":"model"}],"object":"list","data":[{"id":"ggml-org/gemma-3-4b-it-GGUF","object":"model","created":1764000000,"owned_by":"llamacpp","meta":{"vocab_type":2,"n_vocab":262144,"n_ctx_train":131072}}]}"#,
        listed: &["ggml-org/gemma-3-4b-it-GGUF"],
        whole: r#"{"id":"chatcmpl-5","object":"chat.completion","created":1764000000,"model":"ggml-org/gemma-3-4b-it-GGUF","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"timings":{"prompt_n":9,"predicted_n":2},"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#,
        stream: concat!(
            hello!("ggml-org/gemma-3-4b-it-GGUF"),
            usage!("ggml-org/gemma-3-4b-it-GGUF"),
            done!(),
        ),
        passed: Some(concat!(hello!("ggml-org/gemma-3-4b-it-GGUF"), done!(),)),
        error_status: 400,
        error: r#"{"error":{"code":400,"message":"messages must not be empty","type":"invalid_request_error"}}"#,
    },
    Played {
        title: "Ollama",
        endpoint: "/v1/chat/completions",
        path: "/v1/chat/completions",
        model: "llama3.2:latest",
        route: "llama3.2:latest",
        key: ("authorization", ""),
        models_path: "/v1/models",
        models: r#"{"object":"list","data":[{"id":"llama3.2:latest","object":"model","created":1764000000,"owned_by":"library"}]}"#,
        listed: &["llama3.2:latest"],
        whole: r#"{"id":"chatcmpl-6","object":"chat.completion","created":1764000000,"model":"llama3.2:latest","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"system_fingerprint":"fp_ollama","usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#,
        stream: concat!(hello!("llama3.2:latest"), usage!("llama3.2:latest"), done!(),),
        passed: Some(concat!(hello!("llama3.2:latest"), done!(),)),
        error_status: 400,
        error: r#"{"error":{"message":"[] is too short - 'messages'","type":"invalid_request_error","param":null,"code":null}}"#,
    },
    Played {
        title: "TEI",
        endpoint: "/v1/embeddings",
        path: "/v1/embeddings",
        model: "BAAI/bge-small-en-v1.5",
        route: "BAAI/bge-small-en-v1.5",
        key: ("authorization", ""),
        models_path: "",
        models: "",
        listed: &[],
        whole: r#"{"object":"list","data":[{"object":"embedding","embedding":[0.6,0.8],"index":0}],"model":"BAAI/bge-small-en-v1.5","usage":{"prompt_tokens":3,"total_tokens":3}}"#,
        stream: "",
        passed: None,
        error_status: 413,
        error: r#"{"message":"`inputs` must have less than 512 tokens. Given: 700","code":413,"type":"validation"}"#,
    },
    Played {
        title: "LiteLLM",
        endpoint: "/v1/chat/completions",
        path: "/v1/chat/completions",
        model: "team/gpt-4.1",
        route: "team/gpt-4.1",
        key: ("authorization", "Bearer provider-key"),
        models_path: "/v1/models",
        models: r#"{"object":"list","data":[{"id":"team/gpt-4.1","object":"model","created":1677610602,"owned_by":"openai"}]}"#,
        listed: &["team/gpt-4.1"],
        whole: r#"{"id":"chatcmpl-7","object":"chat.completion","created":1764000000,"model":"team/gpt-4.1","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#,
        stream: concat!(hello!("team/gpt-4.1"), usage!("team/gpt-4.1"), done!(),),
        passed: Some(concat!(hello!("team/gpt-4.1"), done!(),)),
        error_status: 400,
        error: r#"{"error":{"message":"litellm.BadRequestError: messages is empty","type":"invalid_request_error","param":null,"code":"400"}}"#,
    },
];
