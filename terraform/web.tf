# A page on CloudFront, from a bucket that nobody else can read. Off unless `web` is set.
locals {
  websocket_url = var.custom_domain == null ? aws_apigatewayv2_stage.main.invoke_url : "wss://${var.custom_domain.name}"

  web = var.web == null ? {} : { main = var.web }

  # By the end of a file's name.
  web_types = {
    css  = "text/css; charset=utf-8"
    html = "text/html; charset=utf-8"
    ico  = "image/x-icon"
    js   = "text/javascript; charset=utf-8"
    json = "application/json"
    png  = "image/png"
    svg  = "image/svg+xml"
  }
}

data "aws_caller_identity" "web" {
  for_each = local.web
}

resource "aws_s3_bucket" "web" {
  for_each = local.web

  # Names of buckets are shared by all accounts.
  bucket        = "${local.prefix}-web-${data.aws_caller_identity.web[each.key].account_id}"
  force_destroy = true

  tags = local.tags
}

resource "aws_s3_bucket_public_access_block" "web" {
  for_each = local.web

  bucket                  = aws_s3_bucket.web[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_policy" "web" {
  for_each = local.web

  bucket = aws_s3_bucket.web[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OnlyThisDistribution"
        Effect    = "Allow"
        Principal = { Service = "cloudfront.amazonaws.com" }
        Action    = "s3:GetObject"
        Resource  = "${aws_s3_bucket.web[each.key].arn}/*"
        Condition = { StringEquals = { "aws:SourceArn" = aws_cloudfront_distribution.web[each.key].arn } }
      },
    ]
  })
}

resource "aws_s3_object" "web" {
  for_each = var.web == null ? toset([]) : fileset(var.web.folder, "**")

  bucket = aws_s3_bucket.web["main"].id
  key    = each.value
  # The page names the service on this machine; here it gets the address of this stack.
  content = endswith(each.value, ".html") ? replace(
    file("${var.web.folder}/${each.value}"), "ws://127.0.0.1:3000/prod", local.websocket_url
  ) : null
  source        = endswith(each.value, ".html") ? null : "${var.web.folder}/${each.value}"
  source_hash   = endswith(each.value, ".html") ? null : filemd5("${var.web.folder}/${each.value}")
  content_type  = lookup(local.web_types, reverse(split(".", each.value))[0], "application/octet-stream")
  cache_control = "no-cache"

  tags = local.tags
}

resource "aws_cloudfront_origin_access_control" "web" {
  for_each = local.web

  name                              = "${local.prefix}-web"
  origin_access_control_origin_type = "s3"
  signing_behavior                  = "always"
  signing_protocol                  = "sigv4"
}

resource "aws_cloudfront_distribution" "web" {
  for_each = local.web

  comment             = "${local.prefix}-web"
  enabled             = true
  is_ipv6_enabled     = true
  default_root_object = "index.html"
  price_class         = "PriceClass_100"

  origin {
    origin_id                = "page"
    domain_name              = aws_s3_bucket.web[each.key].bucket_regional_domain_name
    origin_access_control_id = aws_cloudfront_origin_access_control.web[each.key].id
  }

  default_cache_behavior {
    target_origin_id       = "page"
    allowed_methods        = ["GET", "HEAD"]
    cached_methods         = ["GET", "HEAD"]
    compress               = true
    viewer_protocol_policy = "redirect-to-https"
    # AWS's policies CachingOptimized and SecurityHeadersPolicy.
    cache_policy_id            = "658327ea-f89d-4fab-a63d-7e88639e58f6"
    response_headers_policy_id = "67f7725c-6f97-4210-82d7-5512b31e9d03"
  }

  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }

  viewer_certificate {
    cloudfront_default_certificate = true
  }

  tags = local.tags
}
