// The smallest chat with rooms that does what ours does for its clients, but for the log of messages: connections in a
// table, found by an index, all told at once, and an ack.

import { ApiGatewayManagementApiClient, PostToConnectionCommand } from "@aws-sdk/client-apigatewaymanagementapi";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DeleteCommand, DynamoDBDocumentClient, GetCommand, PutCommand, paginateQuery } from "@aws-sdk/lib-dynamodb";

const TableName = process.env.TABLE;
const table = DynamoDBDocumentClient.from(new DynamoDBClient({}));
const clients = new ApiGatewayManagementApiClient({});

export async function connect(event) {
  const { room, user } = event.queryStringParameters;
  const { connectionId } = event.requestContext;
  await table.send(new PutCommand({ TableName, Item: { connectionId, room, user } }));
  return { statusCode: 200 };
}

export async function disconnect(event) {
  const { connectionId } = event.requestContext;
  await table.send(new DeleteCommand({ TableName, Key: { connectionId } }));
  return { statusCode: 200 };
}

export async function publish(event) {
  const { connectionId } = event.requestContext;
  const { id, data } = JSON.parse(event.body);
  const { Item: sender } = await table.send(new GetCommand({ TableName, Key: { connectionId }, ConsistentRead: true }));
  const { room, user } = sender;
  const Data = JSON.stringify({ type: "message", room, id, from: user, data });
  const pages = paginateQuery(
    { client: table },
    {
      TableName,
      IndexName: "room-index",
      KeyConditionExpression: "room = :room",
      ExpressionAttributeValues: { ":room": room },
    },
  );
  const posts = [];
  for await (const page of pages) {
    for (const member of page.Items) {
      if (member.connectionId !== connectionId) {
        posts.push(clients.send(new PostToConnectionCommand({ ConnectionId: member.connectionId, Data })));
      }
    }
  }
  await Promise.all(posts);
  return { statusCode: 200, body: JSON.stringify({ type: "ack", id, room, delivered: posts.length }) };
}
