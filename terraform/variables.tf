variable "access_logs" {
  type        = bool
  description = "Makes API Gateway write a line for each request. Needs a logging role in the account: see manage_api_gateway_account."
  default     = false
}

variable "admin_url" {
  type        = bool
  description = "Gives the backend's function a Function URL too, for callers without an AWS SDK. IAM guards it all the same."
  default     = false
}

variable "alarm_connections_per_minute" {
  type        = number
  description = "New connections a minute that raise the alarm at-risk. After a deployment of clients everybody comes back at once."
  default     = 3000

  validation {
    condition     = var.alarm_connections_per_minute >= 1
    error_message = "alarm_connections_per_minute must be at least 1."
  }
}

variable "alarm_messages_per_minute" {
  type        = number
  description = "Messages a minute, in and out, that raise the alarm at-risk. The default is a tenth of an account's quota."
  default     = 60000

  validation {
    condition     = var.alarm_messages_per_minute >= 1
    error_message = "alarm_messages_per_minute must be at least 1."
  }
}

variable "alarm_topic_arn" {
  type        = string
  description = "ARN of the SNS topic that alarms notify. With null, alarms show in the console only."
  default     = null

  validation {
    condition     = var.alarm_topic_arn == null || can(regex("^arn:aws[a-z-]*:sns:", var.alarm_topic_arn))
    error_message = "alarm_topic_arn must be the ARN of an SNS topic, or null."
  }
}

variable "allowed_origins" {
  type        = list(string)
  description = "Origins of web pages that may connect, such as https://app.example.com. Empty: all. Other clients may send any origin."
  default     = []

  validation {
    condition = alltrue([
      for origin in var.allowed_origins : can(regex("^https?://([a-zA-Z0-9.-]+|\\[[0-9a-fA-F:]+\\])(:[0-9]{1,5})?$", origin))
    ])
    error_message = "allowed_origins must be origins such as https://app.example.com: scheme, host and port, without a path or a slash at the end."
  }

  validation {
    condition     = length(join(",", var.allowed_origins)) <= 2048
    error_message = "allowed_origins may have 2048 characters in all: a function's environment holds 4 KB."
  }
}

variable "architecture" {
  type        = string
  description = "Processor of the functions. Must be the one that scripts/build.sh built for."
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "architecture must be \"x86_64\" or \"arm64\"."
  }
}

variable "audit_days" {
  type        = number
  description = "Days for which the audit of moderators and of the backend is kept."
  default     = 365

  validation {
    condition     = var.audit_days >= 1 && var.audit_days <= 3650 && floor(var.audit_days) == var.audit_days
    error_message = "audit_days must be a whole number of days, 1 to 3650."
  }
}

variable "auth" {
  type = object({
    issuer        = string
    audience      = list(string)
    jwks_url      = optional(string)
    jwks          = optional(string)
    user_claim    = optional(string, "sub")
    name_claim    = optional(string, "name")
    rooms_claim   = optional(string, "rooms")
    default_rooms = optional(map(list(string)), { "*" = ["join", "history", "publish"] })
    anonymous     = optional(map(list(string)), {})
  })
  description = "Tokens that are accepted: see docs/identity.md. With null, and without authorizer_lambda_arn, names are not verified."
  default     = null

  validation {
    condition     = var.auth == null || try(var.auth.issuer != "" && length(var.auth.audience) > 0 && !contains(var.auth.audience, ""), false)
    error_message = "auth needs an issuer and at least one audience, the iss and aud of your tokens."
  }

  validation {
    condition     = var.auth != null || nonsensitive(var.auth_secret == null)
    error_message = "auth_secret needs auth: its issuer and audience are checked too."
  }

  validation {
    condition     = var.auth == null || var.authorizer_lambda_arn == null
    error_message = "auth and authorizer_lambda_arn exclude each other: one authorizer says who a client is."
  }

  validation {
    condition = var.auth == null || length([
      for source in [try(var.auth.jwks_url, null) != null, try(var.auth.jwks, null) != null, nonsensitive(var.auth_secret != null)] : source if source
    ]) <= 1
    error_message = "Give the keys once: auth.jwks_url, auth.jwks or auth_secret."
  }

  validation {
    condition     = !contains([try(var.auth.user_claim, "-"), try(var.auth.name_claim, "-"), try(var.auth.rooms_claim, "-")], "")
    error_message = "auth.user_claim, auth.name_claim and auth.rooms_claim must be names of claims."
  }

  validation {
    # Without any other source the keys are at the issuer's own URL. http:// is for a test's issuer on this machine.
    condition = (
      var.auth == null || try(var.auth.jwks, null) != null || nonsensitive(var.auth_secret != null) ||
      can(regex(
        "^(https://|http://(127\\.0\\.0\\.1|localhost|\\[::1\\])([:/]|$))",
        try(var.auth.jwks_url != null ? var.auth.jwks_url : var.auth.issuer, "-"),
      ))
    )
    error_message = "The keys' URL, auth.jwks_url or else the issuer, must begin with https://; or give auth.jwks or auth_secret."
  }

  validation {
    # The keys that lambdas/authorize uses. 342 characters of base64 are 2048 bits.
    condition = try(var.auth.jwks, null) == null || try(length(var.auth.jwks) <= 3072 && anytrue([
      for key in jsondecode(var.auth.jwks).keys : try(key.use, "sig") == "sig" && anytrue([
        try(key.kty == "RSA" && length(key.n) >= 342 && key.e != "", false),
        try(key.kty == "EC" && contains(["P-256", "P-384"], key.crv) && key.x != "" && key.y != "", false),
        try(key.kty == "OKP" && key.crv == "Ed25519" && key.x != "", false),
      ])
    ]), false)
    error_message = "auth.jwks must be a key set of at most 3 KB with an RSA key of 2048 bits, a P-256, P-384 or Ed25519 key. Or use auth.jwks_url."
  }

  validation {
    # In bytes, of which four characters of base64 hold three.
    condition     = var.auth == null || length(base64encode(jsonencode(var.auth))) <= 4780
    error_message = "auth is too long: a function's environment holds 4 KB."
  }

  validation {
    condition = alltrue(flatten([
      for rooms in [try(var.auth.default_rooms, {}), try(var.auth.anonymous, {})] : [
        for rights in values(coalesce(rooms, {})) : [for right in rights : contains(["join", "history", "publish", "moderate"], right)]
      ]
    ]))
    error_message = "The rights in auth.default_rooms and auth.anonymous are join, history, publish and moderate."
  }

  validation {
    condition = alltrue(flatten([
      for rooms in [try(var.auth.default_rooms, {}), try(var.auth.anonymous, {})] : concat(
        [length(coalesce(rooms, {})) <= 32],
        # Code points: length() counts what a reader sees as one character.
        [for pattern in keys(coalesce(rooms, {})) : can(regex("^(?s).{1,96}$", pattern)) && length(split("*", pattern)) <= 4],
      )
    ]))
    error_message = "auth.default_rooms and auth.anonymous may have 32 patterns each, of 1 to 96 characters with at most 3 stars."
  }
}

variable "auth_secret" {
  type        = string
  description = "Secret that signs tokens with HS256, for development and closed systems. It is in the state: prefer public keys."
  default     = null
  sensitive   = true

  validation {
    condition     = var.auth_secret == null || try(length(var.auth_secret) >= 32 && length(var.auth_secret) <= 256, false)
    error_message = "auth_secret must have 32 to 256 characters."
  }
}

variable "authorizer_lambda_arn" {
  type        = string
  description = "Your own Lambda authorizer in place of auth: see docs/identity.md for the context it returns."
  default     = null

  validation {
    condition = var.authorizer_lambda_arn == null || can(regex(
      "^arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{12}:function:[a-zA-Z0-9_-]+(:[a-zA-Z0-9_$-]+)?$",
      var.authorizer_lambda_arn,
    ))
    error_message = "authorizer_lambda_arn must be the ARN of a Lambda function, or null."
  }
}

variable "budget" {
  type = object({
    usd_per_month = number
    emails        = list(string)
  })
  description = "Monthly budget for the account's API Gateway, Lambda, DynamoDB and CloudWatch, and who is told at 80 % and when it will be exceeded."
  default     = null

  validation {
    condition     = var.budget == null || try(var.budget.usd_per_month > 0, false)
    error_message = "budget.usd_per_month must be more than 0."
  }

  validation {
    condition = var.budget == null || try(
      length(var.budget.emails) >= 1 && length(var.budget.emails) <= 10 &&
      alltrue([for email in var.budget.emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", email))]), false
    )
    error_message = "budget.emails must be 1 to 10 e-mail addresses."
  }
}

variable "custom_domain" {
  type = object({
    name            = string
    certificate_arn = string
    zone_id         = optional(string)
  })
  description = "Domain name of the API, its ACM certificate (same region) and, if the DNS record is to be made, its Route 53 zone."
  default     = null

  validation {
    condition     = var.custom_domain == null || can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.custom_domain.name))
    error_message = "custom_domain.name must be a domain name in lower case, such as \"chat.example.com\"."
  }

  validation {
    condition     = var.custom_domain == null || can(regex("^arn:aws[a-z-]*:acm:", var.custom_domain.certificate_arn))
    error_message = "custom_domain.certificate_arn must be the ARN of an ACM certificate."
  }

  validation {
    condition     = try(var.custom_domain.zone_id, null) == null || can(regex("^[A-Z0-9]{1,32}$", var.custom_domain.zone_id))
    error_message = "custom_domain.zone_id must be the id of a Route 53 zone, such as \"Z0123456789ABCDEFGHIJ\"."
  }
}

variable "deletion_protection" {
  type        = bool
  description = "Makes AWS refuse to delete the tables. While true, `terraform destroy` fails."
  default     = false
}

variable "direct_messages" {
  type        = bool
  description = "Lets two verified users write to each other in a room of their own. Without identity there are no such rooms."
  default     = true
}

variable "fan_out_concurrency" {
  type        = number
  description = "Posts that one publish has in flight at most. More than 128 gain little and make cold starts slower."
  default     = 128

  validation {
    condition     = var.fan_out_concurrency >= 1 && var.fan_out_concurrency <= 512 && floor(var.fan_out_concurrency) == var.fan_out_concurrency
    error_message = "fan_out_concurrency must be a whole number of posts, 1 to 512: a function has 1024 file descriptors."
  }
}

variable "history_days" {
  type        = number
  description = "Days that messages are kept."
  default     = 7

  validation {
    condition     = var.history_days >= 1 && var.history_days <= 3650 && floor(var.history_days) == var.history_days
    error_message = "history_days must be a whole number of days, 1 to 3650."
  }
}

variable "kms_key_arn" {
  type        = string
  description = "ARN of a customer-managed KMS key for tables, logs and function environments. With null, AWS uses its own keys, free of charge."
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[^:]+:[0-9]{12}:key/", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a KMS key, or null."
  }
}

variable "limits" {
  type = object({
    per_user          = optional(number, 10)
    per_room          = optional(number, 200)
    window_seconds    = optional(number, 5)
    frames_per_second = optional(number, 20)
    burst             = optional(number, 50)
    close_after       = optional(number, 500)
  })
  # Messages are counted exactly, over all connections. Frames are counted by each process, for one connection; close_after
  # of them beyond the limit within a minute close it.
  description = "Rate limits: messages of a user in a room and of a room in window_seconds; frames of a connection. 0 means no limit."
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for limit in [var.limits.per_user, var.limits.per_room] : limit >= 0 && limit <= 200 && floor(limit) == limit])
    error_message = "limits.per_user and limits.per_room must be whole numbers of messages, 0 to 200."
  }
  validation {
    condition     = var.limits.window_seconds >= 1 && var.limits.window_seconds <= 60 && floor(var.limits.window_seconds) == var.limits.window_seconds
    error_message = "limits.window_seconds must be a whole number of seconds, 1 to 60."
  }
  validation {
    condition = (
      alltrue([for limit in [var.limits.frames_per_second, var.limits.burst] : limit >= 0 && limit <= 10000 && floor(limit) == limit]) &&
      (var.limits.frames_per_second == 0 || var.limits.burst >= 1)
    )
    error_message = "limits.frames_per_second and limits.burst must be whole numbers, 0 to 10000; with a rate, burst must be at least 1."
  }
  validation {
    condition     = var.limits.close_after >= 0 && var.limits.close_after <= 100000 && floor(var.limits.close_after) == var.limits.close_after
    error_message = "limits.close_after must be a whole number of frames, 0 to 100000."
  }
}

variable "live_max_members" {
  type        = number
  description = "Most connections of a room that has presence and signals, such as typing. 0 turns both off."
  default     = 100

  validation {
    condition     = var.live_max_members >= 0 && var.live_max_members <= 1000 && floor(var.live_max_members) == var.live_max_members
    error_message = "live_max_members must be a whole number of connections, 0 to 1000."
  }
}

variable "log_retention_days" {
  type        = number
  description = "Days that logs are kept."
  default     = 30

  validation {
    condition = contains(
      [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
      var.log_retention_days,
    )
    error_message = "log_retention_days must be a period that CloudWatch offers, such as 7, 14, 30, 90 or 365."
  }
}

variable "manage_api_gateway_account" {
  type        = bool
  description = "Sets the account's role for the logs of all APIs of the region, and replaces a role that is set already."
  default     = false

  validation {
    condition     = !var.manage_api_gateway_account || var.access_logs
    error_message = "manage_api_gateway_account needs access_logs = true: without access logs the role has no use."
  }
}

variable "max_connections_per_user" {
  type        = number
  description = "Connections that a verified user may have at a time. A further one is refused."
  default     = 20

  validation {
    condition = (
      var.max_connections_per_user >= 1 && var.max_connections_per_user <= 10000 &&
      floor(var.max_connections_per_user) == var.max_connections_per_user
    )
    error_message = "max_connections_per_user must be a whole number of connections, 1 to 10000."
  }
}

variable "memory_mib" {
  type        = number
  description = "Memory of a function without memory_mib in locals.tf. The processor share grows with it."
  default     = 256

  validation {
    condition     = var.memory_mib >= 128 && var.memory_mib <= 10240 && floor(var.memory_mib) == var.memory_mib
    error_message = "memory_mib must be a whole number, 128 to 10240."
  }
}

variable "name" {
  type        = string
  description = "Prefix of all names. Two stacks in one account must differ in name or stage, also in different regions: roles have no region."
  default     = "roomchat"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,22}[a-z0-9]$", var.name))
    error_message = "name must be 2 to 24 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "observability" {
  type        = bool
  description = "Makes metrics, alarms and a dashboard."
  default     = true
}

variable "paced" {
  type = object({
    from_members     = optional(number, 200)
    posts_per_second = optional(number, 5000)
  })
  # A post is metered like a message. An account's API Gateway accepts 10,000 requests a second. With null each message is
  # delivered at once.
  description = "Busy rooms: from so many members on, messages are delivered together, with so many posts a second for each room."
  default     = null

  validation {
    condition     = var.paced == null || try(var.paced.from_members >= 2 && floor(var.paced.from_members) == var.paced.from_members, false)
    error_message = "paced.from_members must be a whole number of connections, 2 or more."
  }
  validation {
    condition = var.paced == null || try(
      var.paced.posts_per_second >= 1 && var.paced.posts_per_second <= 1000000 &&
      floor(var.paced.posts_per_second) == var.paced.posts_per_second, false
    )
    error_message = "paced.posts_per_second must be a whole number of posts, 1 to 1000000."
  }
}

variable "packages_dir" {
  type        = string
  description = "Folder with the package that scripts/build.sh made. With null, target/lambda of this repository."
  default     = null

  validation {
    condition     = var.packages_dir == null || try(length(var.packages_dir) > 0, false)
    error_message = "packages_dir must be a folder, or null."
  }
}

variable "permissions_boundary_arn" {
  type        = string
  description = "ARN of the policy that bounds the rights of all roles of this stack. With null, roles have no boundary."
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null || can(regex("^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn must be the ARN of an IAM policy, or null."
  }
}

variable "reserved_concurrency" {
  type        = number
  description = "Invocations that each function may run at once. With null there is no cap; the quota of a new account is too small for any."
  default     = null

  validation {
    condition = var.reserved_concurrency == null || try(
      var.reserved_concurrency >= 1 && floor(var.reserved_concurrency) == var.reserved_concurrency, false
    )
    error_message = "reserved_concurrency must be a whole number of at least 1, or null for no cap."
  }
}

variable "review" {
  type = object({
    function_arn = string
    rooms        = optional(list(string), ["*"])
    timeout_ms   = optional(number, 1000)
    on_failure   = optional(string, "refuse")
  })
  description = "Your Lambda function that reviews messages before they are stored: see docs/moderation.md. With null there is no review."
  default     = null

  validation {
    condition = var.review == null || can(regex(
      "^arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{12}:function:[a-zA-Z0-9_-]+(:[a-zA-Z0-9_$-]+)?$",
      var.review.function_arn,
    ))
    error_message = "review.function_arn must be the ARN of a Lambda function."
  }

  validation {
    condition = try(length(var.review.rooms) >= 1 && length(var.review.rooms) <= 32 && alltrue([
      for pattern in var.review.rooms : length(pattern) >= 1 && length(pattern) <= 96 && length(split("*", pattern)) <= 4
    ]), var.review == null)
    error_message = "review.rooms must be 1 to 32 patterns of 1 to 96 characters with at most 3 stars."
  }

  validation {
    condition = try(
      var.review.timeout_ms >= 100 && var.review.timeout_ms <= 20000 && floor(var.review.timeout_ms) == var.review.timeout_ms,
      var.review == null,
    )
    error_message = "review.timeout_ms must be a whole number of milliseconds, 100 to 20000."
  }

  validation {
    condition     = try(contains(["refuse", "allow"], var.review.on_failure), var.review == null)
    error_message = "review.on_failure must be \"refuse\" or \"allow\"."
  }
}

variable "stage" {
  type        = string
  description = "Name of the stage, the last part of the API's URL."
  default     = "prod"

  validation {
    condition     = can(regex("^[a-zA-Z0-9_-]{1,24}$", var.stage))
    error_message = "stage must be 1 to 24 letters, digits, hyphens and underscores."
  }
}

variable "table_names" {
  type = object({
    messages = optional(string)
    users    = optional(string)
  })
  description = "Tables that were restored under another name and take the place of this stack's own: see docs/deploy.md."
  default     = {}
  nullable    = false

  validation {
    condition = alltrue([
      for name in [var.table_names.messages, var.table_names.users] : name == null || can(regex("^[a-zA-Z0-9_.-]{3,255}$", name))
    ])
    error_message = "table_names must be names of tables: 3 to 255 letters, digits, hyphens, underscores and points."
  }
}

variable "table_units_per_second" {
  type = object({
    read  = optional(number, 10000)
    write = optional(number, 4000)
  })
  # The quota of an account is 40,000 of each for a table.
  description = "Cap on the read and write units per second of each table and index. Beyond it, clients are told to slow down."
  default     = {}
  nullable    = false

  validation {
    condition = alltrue([
      for units in [var.table_units_per_second.read, var.table_units_per_second.write] : try(units >= 1 && floor(units) == units, false)
    ])
    error_message = "table_units_per_second.read and .write must be whole numbers of at least 1."
  }
}

variable "tags" {
  type        = map(string)
  description = "Tags of all resources, in addition to Application, Stage and ManagedBy and to the provider's default tags."
  default     = {}
  nullable    = false

  validation {
    condition     = length(var.tags) <= 40
    error_message = "tags must be at most 40: a resource has 50, with those of this stack and of the provider."
  }

  validation {
    condition = alltrue([
      for key, value in var.tags : !startswith(lower(key), "aws:") && can(regex("^[\\p{L}\\p{Z}\\p{N}_.:/=+@-]{1,128}$", key)) &&
      can(regex("^[\\p{L}\\p{Z}\\p{N}_.:/=+@-]{0,256}$", value))
    ])
    error_message = "tags must be letters, digits, spaces and _.:/=+-@: keys of 1 to 128 that do not begin with aws:, and values of at most 256."
  }
}

variable "throttle_burst" {
  type        = number
  description = "Messages that the stage accepts at once. The bucket of the account holds 5000."
  default     = 500

  validation {
    condition     = var.throttle_burst >= 1 && floor(var.throttle_burst) == var.throttle_burst
    error_message = "throttle_burst must be a whole number of at least 1: with 0 every message is refused."
  }
}

variable "throttle_rate" {
  type        = number
  description = "Messages per second that the stage accepts. The limit of the account is 10000; posts to connections count too."
  default     = 1000

  validation {
    condition     = var.throttle_rate >= 1
    error_message = "throttle_rate must be at least 1: with 0 every message is refused."
  }
}

variable "timeout_seconds" {
  type        = number
  description = "Time limit of a function without timeout_seconds in locals.tf."
  default     = 10

  validation {
    condition     = var.timeout_seconds >= 1 && var.timeout_seconds <= 29 && floor(var.timeout_seconds) == var.timeout_seconds
    error_message = "timeout_seconds must be a whole number, 1 to 29: API Gateway gives up after 29 s."
  }
}

variable "web" {
  type        = object({ folder = string })
  description = "Serves the files of a folder from CloudFront: { folder = \"../target/web\" }, which scripts/web.sh --out makes."
  default     = null

  validation {
    condition     = var.web == null || can(file("${var.web.folder}/index.html"))
    error_message = "web.folder must be a folder with an index.html, such as the one that scripts/web.sh --out makes."
  }
}

variable "xray" {
  type        = bool
  description = "Makes X-Ray trace invocations."
  default     = false
}
