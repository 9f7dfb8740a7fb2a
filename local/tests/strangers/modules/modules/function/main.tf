variable "name" {}
variable "environment" { default = {} }

data "archive_file" "code" {
  type        = "zip"
  source_file = "${path.module}/code/app.py"
  output_path = "${path.root}/build/${var.name}.zip"
}

resource "aws_lambda_function" "this" {
  function_name = var.name
  role          = "arn:aws:iam::000000000000:role/lambda"
  runtime       = "python3.12"
  handler       = "app.handler"
  filename      = data.archive_file.code.output_path
  environment { variables = merge({ APP_MODULE = path.module }, var.environment) }
}

output "invoke_arn" { value = aws_lambda_function.this.invoke_arn }
