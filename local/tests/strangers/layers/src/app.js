const { answer } = require("numbers");

exports.handler = async () => ({ statusCode: 200, body: JSON.stringify({ layer: answer }) });
