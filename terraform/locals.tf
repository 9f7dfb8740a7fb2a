locals {
  # All names begin with this, so stacks with another name or stage fit into the same account.
  prefix = "${var.name}-${var.stage}"

  tags = merge({ Application = var.name, Stage = var.stage, ManagedBy = "terraform" }, var.tags)

  # THE MAP: one entry for each route, and the only place that names a route or a function. Terraform makes integration,
  # route response, function, role, permission and log group of it; the local gateway reads the same lines. The key is the
  # name of the function and of its folder in lambdas/. `name = { route_key = "name" }` is complete; an entry may add:
  #
  #   access       what the function may do: DynamoDB actions on the tables `connections`, `messages` and `users` and on the index
  #                `room_index`, methods on the connected `clients`, ARNs of functions to `invoke`, the invocation of the
  #                function of `review`. It brings rights (iam.tf) and environment (functions.tf) along
  #   environment  more environment variables
  #   memory_mib, timeout_seconds
  #   package      zip with an executable `bootstrap`, if scripts/build.sh does not make the function from the folder
  #   function     key of the entry whose function serves this route too: an alias; only `share` may stand beside it
  #   mock         the frame that answers this route, without a function
  #   answer       false: the route has no response, so what the function returns is not sent and not metered
  #   share        the part of the stage's throttle that this route may use, between 0 and 1, so that a flood of its
  #                frames leaves the rest to the others; without it the whole
  routes = merge({ for key, route in local.identity_routes : key => route if local.identity }, {
    connect = {
      route_key = "$connect"
      # With identity: reads the user's bans and other connections, deletes the row of a refused handshake, writes the mute
      # into a row.
      access = merge(
        { connections = concat(["PutItem"], local.identity ? ["DeleteItem", "UpdateItem"] : []) },
        local.identity ? { room_index = ["Query"], users = ["Query"] } : {},
      )
      environment = merge(
        length(var.allowed_origins) > 0 ? { ALLOWED_ORIGINS = join(",", var.allowed_origins) } : {},
        local.identity ? { MAX_CONNECTIONS_PER_USER = tostring(var.max_connections_per_user) } : {},
      )
    }
    disconnect = {
      route_key = "$disconnect"
      access = {
        # To see if another row of a user that was present stands.
        connections = ["Query", "GetItem", "DeleteItem"]
        # The members that are told.
        room_index = ["Query"]
        clients    = ["POST"]
      }
    }
    publish = {
      route_key = "publish"
      access = merge({
        # Reads the sender's rooms and checks a row before a post; reads and deletes all rows of a dead connection.
        connections = ["Query", "GetItem", "DeleteItem"]
        room_index  = ["Query"]
        # GET confirms that a connection is gone before its rows are deleted: a 410 alone can be false. DELETE closes it,
        # so that a client that lives all the same notices.
        clients = ["POST", "GET", "DELETE"]
        # Reads the tail of the room's log and appends the message, on condition that an expired tail is still there,
        # and reads and updates a message that is changed.
        messages = ["Query", "PutItem", "ConditionCheckItem", "GetItem", "UpdateItem"]
        },
        # Reads the block of the other user of a pair room, and bans a user who floods.
        local.identity ? { users = concat(["GetItem"], local.closes_floods ? ["UpdateItem"] : []) } : {},
        local.reviews,
        # Hands a busy room over.
        var.paced != null ? { invoke = [local.deliver_arn] } : {},
      )
      environment = merge(local.paced_environment, {
        AUDIT_DAYS          = tostring(var.audit_days)
        FAN_OUT_CONCURRENCY = tostring(var.fan_out_concurrency)
      })
      # Memory buys processor. Below 1024 MiB a fan-out takes longer for about the same money, above it costs more and
      # is no faster: docs/performance.md has the table.
      memory_mib = 1024
      # Below API Gateway's 29 s, which a cold start counts into: the ack may come shortly before the function's end.
      timeout_seconds = 28
    }
    join = {
      route_key = "join"
      share     = 0.5
      access = merge({
        # Reads the user of the connection and writes its row in the room. Deletes the row again if the connection has ended
        # or is in too many rooms. Also writes its presence, looks whether another row of its user stands, writes the head
        # of the log for a user without the right `history`, and reads the row of the membership of a pair room.
        connections = ["Query", "GetItem", "PutItem", "UpdateItem", "DeleteItem"]
        # The members that are told.
        room_index = ["Query"]
        # GET finds that the connection has ended while its row was written.
        clients = ["GET", "POST"]
        # Begins a log that is empty, or reads the messages that the client has missed.
        messages = ["Query", "PutItem", "ConditionCheckItem"]
        },
        # The user's bans.
        local.identity ? { users = ["Query"] } : {},
      )
    }
    leave = {
      route_key = "leave"
      share     = 0.5
      access = {
        connections = ["GetItem", "DeleteItem"]
        room_index  = ["Query"]
        clients     = ["POST"]
      }
    }
    history = {
      route_key = "history"
      share     = 0.5
      access = {
        # Reads the rooms of the sender, or its row in the room that the frame names.
        connections = ["Query", "GetItem"]
        messages    = ["Query"]
      }
    }
    members = {
      route_key = "members"
      share     = 0.1 # it reads a row for each member of the room
      access = {
        # The states of the members, and the rows of connections that a probe finds dead.
        connections = ["Query", "GetItem", "BatchGetItem", "DeleteItem"]
        room_index  = ["Query"]
        clients     = ["POST", "GET", "DELETE"]
      }
    }
    # A function of its own, since a signal must not wait behind a publish.
    signal = {
      route_key = "signal"
      share     = 0.1
      answer    = false
      access = merge({
        # Reads the sender's room.
        connections = ["Query", "GetItem"]
        room_index  = ["Query"]
        # The members, and the sender itself where it is told an error.
        clients = ["POST"]
        },
        # Reads the block of the other user of a pair room.
        local.identity ? { users = ["GetItem"] } : {},
      )
    }
    personal = {
      route_key = "mark"
      share     = 0.5
      # Nobody has a mark or a block without a verified name.
      access = local.identity ? {
        # Writes a mark or a block, reads the marks, deletes a block; reads the block of the other user of a pair room.
        users = ["UpdateItem", "Query", "PutItem", "DeleteItem", "GetItem"]
        # A public mark is a member's. The index finds the user's other devices, and the members of the room.
        connections = ["GetItem"]
        room_index  = ["Query"]
        clients     = ["POST"]
      } : {}
      environment = local.identity ? {
        HISTORY_DAYS = tostring(var.history_days)
      } : {}
    }
    sendmessage = { route_key = "sendmessage", function = "publish" }
    edit        = { route_key = "edit", function = "publish" }
    delete      = { route_key = "delete", function = "publish" }
    react       = { route_key = "react", function = "publish" }
    heads       = { route_key = "heads", function = "history", share = 0.5 }
    marks       = { route_key = "marks", function = "personal", share = 0.5 }
    block       = { route_key = "block", function = "personal", share = 0.1 }
    unblock     = { route_key = "unblock", function = "personal", share = 0.1 }
    presence    = { route_key = "presence", function = "join", share = 0.1 } # it posts to each member of the room
    ping        = { route_key = "ping", mock = jsonencode({ type = "pong" }) }
    default     = { route_key = "$default", share = 0.1 } # only mistakes arrive here
  })

  # Routes that need verified users: without them nobody has the right `moderate`.
  identity_routes = {
    moderate = {
      route_key = "kick"
      share     = 0.1
      access = {
        # The end of a user's row in the room, or the mute in it; whether another row of the user stands.
        connections = ["GetItem", "DeleteItem", "UpdateItem"]
        # The connections of the user, and the members that are told.
        room_index = ["Query"]
        # The ban or mute, its end, and the mutes that hold.
        users = ["UpdateItem", "DeleteItem", "Query"]
        # Tells the removed.
        clients = ["POST"]
        # The audit.
        messages = ["Query", "PutItem", "ConditionCheckItem"]
      }
      environment = { AUDIT_DAYS = tostring(var.audit_days) }
      # A kick, ban or mute looks for the user's connections for 3 s.
      timeout_seconds = 28
    }
    ban    = { route_key = "ban", function = "moderate" }
    unban  = { route_key = "unban", function = "moderate" }
    mute   = { route_key = "mute", function = "moderate" }
    unmute = { route_key = "unmute", function = "moderate" }
  }

  # The package that scripts/build.sh makes: one program for all functions.
  package = "${coalesce(var.packages_dir, "${path.module}/../target/lambda")}/roomchat-functions.zip"

  # True if an authorizer verifies users. The functions then refuse events without a verified user.
  identity = var.auth != null || var.authorizer_lambda_arn != null

  functions = merge(local.route_functions, {
    for key in ["authorize"] : key => {
      access          = {}
      environment     = { AUTH_SETTINGS = jsonencode(var.auth) }
      memory_mib      = var.memory_mib
      timeout_seconds = var.timeout_seconds
      package         = local.package
      answers_unknown = false
    } if var.auth != null
    }, {
    # The backend's door: no route leads there, IAM says who may invoke it.
    admin = {
      access = merge({
        # The rows of removed, closed and dead connections, whether another row of their user stands, and the states of
        # members; with identity also mutes.
        connections = concat(["Query", "GetItem", "BatchGetItem", "DeleteItem"], local.identity ? ["UpdateItem"] : [])
        room_index  = ["Query"]
        clients     = ["POST", "GET", "DELETE"]
        messages    = ["Query", "PutItem", "ConditionCheckItem", "GetItem", "UpdateItem"]
        },
        # Bans, mutes and revocations, the list of them, blocks and marks.
        local.identity ? { users = ["Query", "UpdateItem", "DeleteItem", "Scan", "GetItem"] } : {},
        local.reviews,
        # A message of the backend to a busy room.
        var.paced != null ? { invoke = [local.deliver_arn] } : {},
      )
      environment = merge(local.paced_environment, {
        AUDIT_DAYS          = tostring(var.audit_days)
        FAN_OUT_CONCURRENCY = tostring(var.fan_out_concurrency)
      })
      memory_mib      = 1024
      timeout_seconds = 60
      package         = local.package
      answers_unknown = false
    }
    }, {
    # The pump of busy rooms: no route leads there, publish and admin invoke it, and it invokes itself.
    for key in ["deliver"] : key => {
      access = {
        # Reads and deletes the rows of dead connections, and whether another row of their user stands.
        connections = ["Query", "GetItem", "DeleteItem"]
        room_index  = ["Query"]
        clients     = ["POST", "GET", "DELETE"]
        # Reads what has been said, and writes how far it is delivered.
        messages = ["Query", "UpdateItem"]
        invoke   = [local.deliver_arn]
      }
      environment = merge(local.paced_environment, {
        FAN_OUT_CONCURRENCY = tostring(var.fan_out_concurrency)
      })
      memory_mib      = 1024
      timeout_seconds = 60
      package         = local.package
      answers_unknown = false
    } if var.paced != null
  })

  # The access of functions that store messages to the function that reviews them.
  reviews = var.review == null ? {} : { review = ["InvokeFunction"] }
  # Not of the function itself, whose role needs the right first.
  deliver_arn = join(":", concat(
    ["arn", split(":", aws_apigatewayv2_api.main.execution_arn)[1], "lambda", local.region],
    [split(":", aws_apigatewayv2_api.main.execution_arn)[4], "function", "${local.prefix}-deliver"],
  ))
  paced_environment = var.paced == null ? {} : {
    PACED            = jsonencode(var.paced)
    DELIVER_FUNCTION = "${local.prefix}-deliver"
  }

  # Every function that answers frames closes connections that send far too many, unless the limits say never.
  closes_floods = var.limits.frames_per_second > 0 && var.limits.close_after > 0

  route_functions = {
    for key, route in local.routes : key => {
      access = merge(lookup(route, "access", {}), local.closes_floods && contains(keys(local.answered_routes), key) ? {
        clients = distinct(concat(lookup(lookup(route, "access", {}), "clients", []), ["DELETE"]))
      } : {})
      environment     = lookup(route, "environment", {})
      memory_mib      = lookup(route, "memory_mib", var.memory_mib)
      timeout_seconds = lookup(route, "timeout_seconds", var.timeout_seconds)
      package         = lookup(route, "package", local.package)
      answers_unknown = route.route_key == "$default"
    } if lookup(route, "function", null) == null && lookup(route, "mock", null) == null
  }

  mocks = { for key, route in local.routes : key => route.mock if lookup(route, "mock", null) != null }

  # Route key of each route that a function serves.
  function_routes = {
    for key, route in local.routes : key => {
      route_key = route.route_key
      function  = lookup(route, "function", key)
    } if lookup(route, "mock", null) == null
  }

  # Routes of frames: all but the two of the connection's own life.
  message_routes = {
    for key, route in local.routes : key => route.route_key
    if !contains(["$connect", "$disconnect"], route.route_key)
  }

  # Routes whose answer goes back to the client as a frame.
  answered_routes = { for key, route_key in local.message_routes : key => route_key if lookup(local.routes[key], "answer", true) }

  # Share of the stage's throttle, by the key of each route that has one.
  shares = { for key, route in local.routes : key => route.share if lookup(route, "share", null) != null }

  # The values of `action` in a client's frame.
  actions = sort([for route_key in values(local.message_routes) : route_key if !startswith(route_key, "$")])
}
