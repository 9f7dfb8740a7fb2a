// Whoever says something hears who else heard it: {"action":"say","data":"hello"}.

import { ApiGatewayManagementApiClient, PostToConnectionCommand } from "@aws-sdk/client-apigatewaymanagementapi";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DeleteCommand, DynamoDBDocumentClient, PutCommand, ScanCommand } from "@aws-sdk/lib-dynamodb";

const TableName = process.env.TABLE;
const table = DynamoDBDocumentClient.from(new DynamoDBClient({}));

export const handler = async (event) => {
  const { routeKey, connectionId, domainName, stage } = event.requestContext;
  switch (routeKey) {
    case "$connect":
      await table.send(new PutCommand({ TableName, Item: { connectionId } }));
      break;
    case "$disconnect":
      await forget(connectionId);
      break;
    case "say":
      await say(`https://${domainName}/${stage}`, connectionId, JSON.parse(event.body).data);
      break;
  }
  return { statusCode: 200 };
};

async function say(endpoint, sender, data) {
  const api = new ApiGatewayManagementApiClient({ endpoint });
  const post = (ConnectionId, frame) =>
    api.send(new PostToConnectionCommand({ ConnectionId, Data: JSON.stringify(frame) }));

  const { Items } = await table.send(new ScanCommand({ TableName, ConsistentRead: true }));
  const others = Items.map((item) => item.connectionId).filter((id) => id !== sender);
  const heard = await Promise.all(
    others.map(async (id) => {
      try {
        await post(id, { data });
        return 1;
      } catch (error) {
        if (error.name !== "GoneException") throw error;
        await forget(id);
        return 0;
      }
    }),
  );
  await post(sender, { heardBy: heard.reduce((sum, one) => sum + one, 0) });
}

function forget(connectionId) {
  return table.send(new DeleteCommand({ TableName, Key: { connectionId } }));
}
