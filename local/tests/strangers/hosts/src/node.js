const https = require("https");

const call = (options, body) =>
  new Promise((resolve, reject) => {
    const request = https.request({ method: "POST", agent: new https.Agent(), ...options }, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += chunk));
      response.on("end", () => resolve(text));
    });
    request.on("error", reject);
    request.end(body);
  });

exports.handler = async (event) => {
  const host = `${process.env.API_ID}.execute-api.us-west-2.amazonaws.com`;
  const path = `/live/@connections/${event.requestContext.connectionId}`;
  await call({ hostname: host, path, headers: { host } }, '"https"');
  await fetch(`https://${host}${path}`, { method: "POST", body: '"fetch"' });
  // As the SDK's version 2 calls DynamoDB, which takes no endpoint from the environment.
  const { AWS_ACCESS_KEY_ID: key, AWS_REGION: region } = process.env;
  const tables = await call(
    {
      host: `dynamodb.${region}.amazonaws.com`,
      port: 443,
      path: "/",
      headers: {
        "content-type": "application/x-amz-json-1.0",
        "x-amz-target": "DynamoDB_20120810.ListTables",
        "x-amz-date": "20260101T000000Z",
        authorization: `AWS4-HMAC-SHA256 Credential=${key}/20260101/${region}/dynamodb/aws4_request, SignedHeaders=host, Signature=00`,
      },
    },
    "{}",
  );
  await fetch(`https://${host}${path}`, { method: "POST", body: tables });
  return { statusCode: 200 };
};
